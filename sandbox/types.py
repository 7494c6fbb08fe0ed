"""What goes into the sandbox and what comes out of it: plain frozen data, the same at every door.

An `ExecResult` describes the program only. Failures of the sandbox are exceptions (`sandbox.errors`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal, get_args

from sandbox.errors import BadRequest

Mode = Literal["notebook", "script"]
Status = Literal["ok", "error", "timeout", "memory_limit", "killed"]
Isolation = Literal["jail", "pod", "none"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use. The defaults suit programs that solve school and competition mathematics.

    `output_bytes` holds for stdout, stderr and the value each; what exceeds it is cut out of the middle and
    counted, and never ends the program. `memory_bytes` and `processes` hold for all processes of the run
    together. `file_bytes` caps its working directory and /tmp together.
    """

    wall_seconds: float = 10.0
    cpu_seconds: float = 10.0
    memory_bytes: int = 1 * GIB
    output_bytes: int = 64 * KIB
    processes: int = 32
    file_bytes: int = 64 * MIB

    # In less a Python process cannot even start.
    MINIMUM: ClassVar[Mapping[str, float]] = {"memory_bytes": 16 * MIB}
    # The largest values a caller may ask for: beyond them a limit is a mistake, not a wish.
    MAXIMUM: ClassVar[Mapping[str, float]] = {
        "wall_seconds": 3600.0,
        "cpu_seconds": 3600.0,
        "memory_bytes": 64 * GIB,
        "output_bytes": 16 * MIB,
        "processes": 4096,
        "file_bytes": 16 * GIB,
    }

    def check(self) -> None:
        """Raise `BadRequest` naming every limit that is not a positive finite number from `MINIMUM` to `MAXIMUM`."""
        values = tuple(getattr(self, name) for name in self.MAXIMUM)
        try:
            problems = _problems(*values)
        except TypeError:  # a list, say, which no cache takes
            problems = _problems.__wrapped__(*values)
        if problems:
            raise BadRequest("limits: " + "; ".join(problems))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, a new one each time."""
        return {name: getattr(self, name) for name in self.MAXIMUM}  # asdict copies deeply: ten times as slow


@lru_cache(256, typed=True)  # most requests have the same limits; typed: 1 is a number of processes, True is none
def _problems(*values: Any) -> list[str]:
    """What is wrong with `values`, of the limits in the order of `Limits.MAXIMUM`."""
    problems = []
    for (name, most), value in zip(Limits.MAXIMUM.items(), values, strict=True):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            problems.append(f"{name} is {value!r}, expected a finite number")
        elif not 0 < value <= most:
            problems.append(f"{name} is {value}, expected more than 0 and at most {most}")
        elif value < (least := Limits.MINIMUM.get(name, 0)):
            problems.append(f"{name} is {value}, expected at least {least}")
    return problems


_MODES = get_args(Mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    """One program to run, or one cell of a session.

    `mode` "notebook" reports the value of the last expression, as a notebook would; "script" does not.
    `files` are written into the working directory first; `fetch` names files to bring back from it.
    `fetch_figures`: bring back what it shows with matplotlib, too, as `figure-1.png` and so on, at most 20 a request.
    `queue_seconds` bounds the wait for a free slot; the program's own clock starts when the program starts.
    `key` makes a retry of the same request harmless: the first outcome is returned again.
    """

    code: str
    mode: Mode = "notebook"
    stdin: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    fetch: tuple[str, ...] = ()
    fetch_figures: bool = False
    limits: Limits = Limits()
    seed: int = 0
    queue_seconds: float = 60.0
    key: str | None = None

    def check(self) -> None:
        """Raise `BadRequest` if this cannot be run as asked."""
        if self.mode not in _MODES:
            raise BadRequest(f"mode is {self.mode!r}, expected one of {', '.join(_MODES)}")
        if not 0 <= self.seed < 1 << 32:
            raise BadRequest(f"seed is {self.seed}, expected 0 to 4294967295 (numpy takes 32 bits)")
        for name in (*self.files, *self.fetch):
            encoded = name.encode(errors="replace")
            odd = encoded.decode() != name  # lone surrogates, which no file system takes
            if odd or len(encoded) > 255 or "\0" in name or {"", ".", ".."} & set(name.split("/")):
                raise BadRequest(f"file {name!r:.300}: expected a relative path inside the folder, at most 255 bytes")
        self.limits.check()
        if not self.files:
            return
        folders = {name[:at] for name in self.files for at, sign in enumerate(name) if sign == "/"}
        if clash := folders & set(self.files):
            raise BadRequest(f"files: {min(clash)!r} is given as a file and as a folder")
        if (size := sum(map(len, self.files.values()))) > self.limits.file_bytes:
            raise BadRequest(f"files: {size} bytes in all, expected at most file_bytes = {self.limits.file_bytes}")


@dataclass(frozen=True, slots=True)
class ExecError:
    """The exception that ended a program: its class name, its message, and the user's own frames."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Truncated:
    """Bytes left out of the middle of each stream; 0 where it is whole."""

    stdout: int = 0
    stderr: int = 0
    value: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What a program did.

    `value` is the repr of the last expression (notebook mode), None if there was none or it was None.
    `exit_code` is None if the program was ended by a signal or a limit. `lossy_decode`: some output was not
    UTF-8 and was decoded with replacement. `wall_seconds` and `cpu_seconds` are the program's own,
    `queue_seconds` what it waited before. `figures_shown` counts what it showed with matplotlib, by its own word.
    `state_lost`: a session was ended by this cell (limit or exit).
    """

    status: Status
    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    error: ExecError | None = None
    exit_code: int | None = None
    signal: int | None = None
    truncated: Truncated = Truncated()
    lossy_decode: bool = False
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    queue_seconds: float = 0.0
    peak_memory_bytes: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict)
    figures_shown: int = 0
    isolation: Isolation = "jail"
    state_lost: bool = False

    @property
    def ok(self) -> bool:
        return self.status == "ok"
