"""From what the slot saw and what the program's process claims to an `ExecResult`.

The slot's word decides status, signal, exit code, times and memory. The report comes from a process that the user's
code shares: it is bounded, checked field by field, and used only for the value, the error and the difference
between an exit code and an exception. A report that is missing or malformed is no report.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from typing import Any

from sandbox.engine.descriptors import EXHAUSTED
from sandbox.errors import SandboxUnavailable
from sandbox.jail import linux
from sandbox.streams import HeadTail, cut_middle
from sandbox.types import ExecError, ExecRequest, ExecResult, Isolation, Status, Truncated

ERROR_TEXT_BYTES = 16 * 1024  # what the runner keeps of a message and of a traceback
_CHUNK = 4 << 20  # of a file, read at a time
_MOST_CUT = 1 << 40  # bytes that a value can have lost: beyond any memory limit it is a lie
_UNREADABLE = {"value": None, "value_cut": 0, "error": None, "figures": 0}
_FIGURE = re.compile(r"figure-[0-9]{1,6}\.png")
MOST_FIGURE_FILES = 20  # as `sandbox/guest/figures.py` draws at most
_MOST_FIGURES = 10_000  # shown by one program: beyond any time limit it is a lie


def report_budget(output_bytes: int) -> int:
    """The most that a report in good order can take: JSON writes one byte as six at worst (\\u0000)."""
    return 6 * (output_bytes + 3 * ERROR_TEXT_BYTES) + 4096


def read_report(data: bytes, output_bytes: int) -> dict[str, Any]:
    """The claims in `data`, each of its type and within its bounds; `None` where there is none to be had."""
    try:
        claims = json.loads(data)
    except (ValueError, RecursionError):
        return dict(_UNREADABLE)
    if not isinstance(claims, dict):
        return dict(_UNREADABLE)
    value, value_cut, error = claims.get("value"), claims.get("value_cut", 0), claims.get("error")
    report: dict[str, Any] = dict(_UNREADABLE)
    if isinstance(value, str):
        content, cut = cut_middle(_sound(value).encode(), output_bytes + 64)
        report["value"] = content.decode()
        report["value_cut"] = cut or (value_cut if type(value_cut) is int and 0 < value_cut < _MOST_CUT else 0)
    if type(figures := claims.get("figures")) is int and 0 < figures <= _MOST_FIGURES:
        report["figures"] = figures
    if isinstance(error, dict) and all(isinstance(error.get(name), str) for name in ("type", "message", "traceback")):
        texts = (
            cut_middle(_sound(error[n]).encode(), ERROR_TEXT_BYTES + 64)[0] for n in ("type", "message", "traceback")
        )
        report["error"] = ExecError(*(text.decode() for text in texts))
    return report


def figures_drawn(data: bytes) -> tuple[str, ...]:
    """The files that a report says its program's figures were drawn into: names that only a figure has."""
    try:
        names = json.loads(data).get("figure_files", [])
        return tuple(dict.fromkeys(name for name in names[:MOST_FIGURE_FILES] if _FIGURE.fullmatch(name)))
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return ()


def _sound(text: str) -> str:
    """`text` without lone surrogates, which no encoding takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def decode(stream: HeadTail) -> tuple[str, int, bool]:
    """A stream's text, the bytes left out of it, and whether something in it was not UTF-8."""
    content, dropped = stream.content()
    try:
        return content.decode(), dropped, False
    except UnicodeDecodeError:
        return content.decode("utf-8", "replace"), dropped, True


def make_result(
    request: ExecRequest,
    seen: Mapping[str, Any],
    streams: tuple[HeadTail, HeadTail],
    claims: bytes,
    *,
    files: Mapping[str, bytes],
    queue_seconds: float,
    isolation: Isolation,
    session: bool,
) -> ExecResult:
    """The result of a run or cell of which `seen` is the slot's account."""
    report = read_report(claims, request.limits.output_bytes)
    status, error = _status(seen, report, request)
    (stdout, out_cut, out_lossy), (stderr, err_cut, err_lossy) = decode(streams[0]), decode(streams[1])
    finished = status in ("ok", "error")
    exit_code = seen["exit_code"] if not seen["alive"] else int(status == "error")
    return ExecResult(
        status=status,
        stdout=stdout,
        stderr=stderr,
        value=report["value"] if finished else None,
        error=error if finished else None,
        exit_code=exit_code if finished else None,
        signal=seen["signal"] if status == "killed" else None,
        truncated=Truncated(out_cut, err_cut, report["value_cut"] if finished else 0),
        lossy_decode=out_lossy or err_lossy,
        wall_seconds=seen["wall"],
        cpu_seconds=seen["cpu"],
        queue_seconds=queue_seconds,
        peak_memory_bytes=seen["peak"],
        files=files,
        figures_shown=report["figures"] if finished else 0,
        isolation=isolation,
        state_lost=session and not seen["alive"],
    )


def _status(
    seen: Mapping[str, Any], report: Mapping[str, Any], request: ExecRequest
) -> tuple[Status, ExecError | None]:
    if seen["why"] in ("timeout", "memory_limit"):
        return seen["why"], None
    if seen["signal"] is not None:
        # SIGXCPU and the SIGKILL one second after it are the kernel's own clock, which several processes may race past.
        by_clock = seen["signal"] in (24, 9) and seen["cpu"] >= request.limits.cpu_seconds
        return ("timeout" if by_clock else "killed"), None
    if seen["alive"]:
        return ("error" if report["error"] else "ok"), report["error"]
    if seen["exit_code"] is None:  # it ended, and nobody saw how
        return "killed", None
    if seen["exit_code"] == 0:
        return "ok", None
    # Without a report (os._exit) the exit code is all there is to say.
    return "error", report["error"] or ExecError("SystemExit", str(seen["exit_code"]), "")


def fetch(work: int, names: tuple[str, ...], budget: int, most_seconds: float = 30.0) -> dict[str, bytes]:
    """The regular files among `names` below the folder `work`, whole ones only, up to `budget` bytes in all.

    No link is followed, nothing is opened that could block, and a sparse file counts with its full size. What a
    process that still lives keeps from being opened (a lease, a rename at each try) is not there. Closes `work`. Call
    it in a thread: 64 MiB take 20 ms.

    Raises:
        SandboxUnavailable: the machine did not get through in `most_seconds`.
    """
    found: dict[str, bytes] = {}
    deadline = time.monotonic() + most_seconds
    try:
        for name in names:
            try:
                descriptor = linux.open_beneath(work, name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    raise
                continue
            about = os.fstat(descriptor)
            if stat.S_ISREG(about.st_mode) and about.st_size <= budget:
                with open(descriptor, "rb", buffering=0) as file:
                    found[name] = _read(file, about.st_size)
                budget -= len(found[name])
            else:
                os.close(descriptor)
            if time.monotonic() > deadline:
                raise SandboxUnavailable(f"the files to fetch were not read within {most_seconds:g} seconds")
    finally:
        os.close(work)
    return found


def _read(file: io.FileIO, size: int) -> bytes:
    content = bytearray()
    while len(content) < size and (chunk := file.read(min(size - len(content), _CHUNK))):
        content += chunk
    return bytes(content)
