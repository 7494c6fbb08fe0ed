"""The HTTP interface's documents: what a request may carry, and what an answer holds, with units and examples.

Requests are checked strictly: an unknown field or a number given as text is refused by name, because a misspelt limit
that is ignored is worse. Answers are described here for OpenAPI and written straight from the result, unchecked, for
speed. Times are in seconds, sizes in bytes, file contents in base64.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.coding import files_from_json, result_to_json
from sandbox.errors import BadRequest, Overloaded, SandboxError
from sandbox.types import ExecRequest, ExecResult, Limits

MAX_BATCH = 10_000
_LEAST, _MOST = Limits.MINIMUM, Limits.MAXIMUM
_DEFAULT = Limits()

Key = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=128,
        description="Idempotency key, made by the client: 128 random bits, say. A request with a key that was used "
        "before runs nothing: it joins the run that is on or gets the same outcome again. The server keeps the latest "
        "8192 outcomes.",
    ),
]
Base64 = Annotated[str, Field(description="Contents, base64.", json_schema_extra={"format": "byte"})]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class LimitsBody(_Request):
    """What one run may use."""

    wall_seconds: float = Field(
        _DEFAULT.wall_seconds, gt=0, le=_MOST["wall_seconds"], description="Longest run, seconds on the clock."
    )
    cpu_seconds: float = Field(
        _DEFAULT.cpu_seconds, gt=0, le=_MOST["cpu_seconds"], description="Longest run, seconds of processor time."
    )
    memory_bytes: int = Field(
        _DEFAULT.memory_bytes,
        ge=int(_LEAST["memory_bytes"]),
        le=int(_MOST["memory_bytes"]),
        description="Memory of all processes of the run together, bytes.",
    )
    output_bytes: int = Field(
        _DEFAULT.output_bytes,
        gt=0,
        le=int(_MOST["output_bytes"]),
        description="Kept of stdout, stderr and the value, bytes each. What exceeds it is cut out of the middle and "
        "counted; it never ends the program.",
    )
    processes: int = Field(
        _DEFAULT.processes, gt=0, le=int(_MOST["processes"]), description="Processes and threads at a time, count."
    )
    file_bytes: int = Field(
        _DEFAULT.file_bytes,
        gt=0,
        le=int(_MOST["file_bytes"]),
        description="Files in the working directory and /tmp together, bytes.",
    )

    def limits(self) -> Limits:
        return Limits(
            wall_seconds=self.wall_seconds,
            cpu_seconds=self.cpu_seconds,
            memory_bytes=self.memory_bytes,
            output_bytes=self.output_bytes,
            processes=self.processes,
            file_bytes=self.file_bytes,
        )


class ExecuteBody(_Request):
    """A program, or a session's next cell."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"code": "from sympy import *\nx = symbols('x')\nsolve(x**2 - 5*x + 6, x)"},
                {
                    "code": "print(sum(map(int, open('numbers.txt'))))",
                    "mode": "script",
                    "files": {"numbers.txt": "MQoyCjMK"},
                    "limits": {"wall_seconds": 2.0, "memory_bytes": 268435456},
                },
            ]
        },
    )

    code: str = Field(description="Python source.")
    mode: Literal["notebook", "script"] = Field(
        "notebook",
        description="notebook: the value of the last expression is reported, and the names of a notebook are there. "
        "script: neither.",
    )
    stdin: str = Field("", description="What the program reads from standard input, text.")
    files: dict[str, Base64] = Field(
        default_factory=dict,
        description="Files put into the working directory first: relative path to contents in base64.",
    )
    fetch: list[str] = Field(
        default_factory=list, max_length=256, description="Relative paths of files to bring back afterwards."
    )
    fetch_figures: bool = Field(
        False,
        description="Bring back the figures that it shows with matplotlib, too, as figure-1.png and so on, at most 20.",
    )
    limits: LimitsBody | None = Field(
        None, description="What the run may use. Left out: the session's own limits in a session, else the defaults."
    )
    seed: int = Field(0, ge=0, lt=1 << 32, description="Seed of `random` and of numpy's global generator, no unit.")
    queue_seconds: float = Field(
        60.0, ge=0, le=3600, description="Longest wait for a free slot, seconds. It is not charged to the program."
    )
    key: Key = None

    def request(self, limits: Limits) -> ExecRequest:
        """The request, checked; `limits` where it brings none.

        Raises:
            BadRequest: it cannot be run as asked.
        """
        try:
            files = files_from_json(self.files)
        except ValueError as error:
            raise BadRequest(f"files: the contents are not base64: {error}") from None
        request = ExecRequest(
            code=self.code,
            mode=self.mode,
            stdin=self.stdin,
            files=files,
            fetch=tuple(self.fetch),
            fetch_figures=self.fetch_figures,
            limits=self.limits.limits() if self.limits is not None else limits,
            seed=self.seed,
            queue_seconds=self.queue_seconds,
            key=self.key,
        )
        request.check()
        return request


class BatchBody(_Request):
    """Programs that do not depend on each other."""

    requests: list[ExecuteBody] = Field(
        max_length=MAX_BATCH,
        description=f"At most {MAX_BATCH} programs. `queue_seconds` of each counts from its own turn.",
        examples=[[{"code": "1 + 1"}, {"code": "print('two')"}]],
    )


class SessionBody(_Request):
    """What a new session is to be."""

    ttl_seconds: float | None = Field(
        None,
        gt=0,
        le=86400,
        description="It is ended after lying idle so long, seconds. Left out: the server's own time.",
        examples=[600.0],
    )
    limits: LimitsBody | None = Field(None, description="For each of its cells that brings none of its own.")
    key: Key = None


class ForkBody(_Request):
    """How a session is forked."""

    key: Key = None


class SessionAnswer(BaseModel):
    """A session that is open."""

    session_id: str = Field(description="Its name in further requests.", examples=["7d0c1f2e3b4a59687786a5b4c3d2e1f0"])


class ErrorDetail(BaseModel):
    """The exception that ended a program."""

    type: str = Field(description="Class of the exception.", examples=["ZeroDivisionError"])
    message: str = Field(description="Its message.", examples=["division by zero"])
    traceback: str = Field(description="The program's own frames and lines, and the message.")


class TruncatedAnswer(BaseModel):
    """Bytes left out of the middle of each stream, 0 where it is whole."""

    stdout: int = Field(description="Bytes.", examples=[0])
    stderr: int = Field(description="Bytes.", examples=[0])
    value: int = Field(description="Bytes.", examples=[0])


class ResultAnswer(BaseModel):
    """What a program did. A failure of the sandbox is never told here: it is an error answer."""

    status: Literal["ok", "error", "timeout", "memory_limit", "killed"] = Field(
        description="ok; error: an exception; timeout; memory_limit; killed: by a signal.", examples=["ok"]
    )
    stdout: str = Field(description="What it printed, text.", examples=[""])
    stderr: str = Field(description="What it printed to standard error, text.", examples=[""])
    value: str | None = Field(description="repr of the last expression, null if it has none.", examples=["[2, 3]"])
    error: ErrorDetail | None = Field(description="The exception, null if there was none.", examples=[None])
    exit_code: int | None = Field(description="Exit code, null if a signal or a limit ended it.", examples=[0])
    signal: int | None = Field(description="Number of the signal that ended it, null if none did.", examples=[None])
    truncated: TruncatedAnswer = Field(description="Bytes left out of stdout, stderr and value.")
    lossy_decode: bool = Field(description="Some output was not UTF-8 and was decoded with replacement.")
    wall_seconds: float = Field(description="Its own time on the clock, seconds.", examples=[0.0021])
    cpu_seconds: float = Field(description="Its own processor time, seconds.", examples=[0.0019])
    queue_seconds: float = Field(description="Time before it began, seconds.", examples=[0.0003])
    peak_memory_bytes: int = Field(description="Most memory at a time, bytes.", examples=[41943040])
    files: dict[str, Base64] = Field(description="The files asked for that exist: path to contents in base64.")
    figures_shown: int = Field(description="Figures that it showed with matplotlib, count.", examples=[0])
    isolation: str = Field(description="The isolation it ran in: jail, pod, none.", examples=["jail"])
    state_lost: bool = Field(description="The cell ended its session (limit or exit).", examples=[False])


class Problem(BaseModel):
    """What went wrong, as a class of `sandbox.errors`."""

    type: str = Field(description="Class name in `sandbox.errors`.", examples=["Overloaded"])
    message: str = Field(description="What was expected, what came, what to do.")
    retry_after_seconds: float | None = Field(
        None, description="Overloaded only: when to ask again, seconds.", examples=[1.0]
    )


class ErrorAnswer(BaseModel):
    """The answer to a request that could not be run to an outcome. The program is innocent."""

    error: Problem


class BatchProblem(Problem):
    """As `Problem`, with the HTTP status that the request would have got alone."""

    status: int = Field(description="HTTP status, no unit.", examples=[503])


class BatchLine(BaseModel):
    """One line of a batch's answer: `result`, or `error` where the sandbox failed."""

    index: int = Field(description="Position in `requests`, from 0.", examples=[0])
    result: ResultAnswer | None = None
    error: BatchProblem | None = None


class ReadyAnswer(BaseModel):
    """What the server offers now."""

    ready: bool = Field(description="Programs are accepted; false while the server drains.")
    isolation: str = Field(description="The isolation in force: jail, pod, none.", examples=["jail"])
    slots: int = Field(description="Programs that run at a time, count.", examples=[2])
    busy: int = Field(description="Slots that run a program, count.", examples=[0])
    queue_length: int = Field(description="Programs that wait for a slot, count.", examples=[0])
    sessions: int = Field(description="Live sessions, count.", examples=[0])


def result_json(result: ExecResult) -> bytes:
    """`result` as the server writes it."""
    return json.dumps(result_to_json(result)).encode()


def error_json(error: SandboxError) -> dict[str, Any]:
    """`error` as the "error" object of an answer."""
    described: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, Overloaded):
        described["retry_after_seconds"] = error.retry_after_seconds
    return described
