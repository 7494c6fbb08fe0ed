"""NeMo-Skills' local sandbox: `POST /execute`, `DELETE /sessions/{id}`, `GET /health`.

The contract is NVIDIA-NeMo/Skills' `nemo_skills/code_execution/local_sandbox/local_sandbox_server.py`, as its
`sandbox.py` beside it uses it. A client names its session in the header X-Session-ID; a name that was never seen opens
one, and so does one whose session has ended: `new_session_created` says it, and their client then replays its history.
Where this server differs:

    a failure of ours     HTTP 503 and "error", without "process_status". Their client asks nothing again, and takes 502
                          for a timeout of the program; this one it cannot take for an outcome.
    language              ipython, python and python3; lean4, shell and pypy3 are refused with 400.
    ipython               cells as this sandbox's notebooks run them: no magics; a value is its repr, not IPython's
                          layout. After sys.exit() the session begins anew. Tracebacks: Minimal is the last line,
                          Plain has no file names; Context and Verbose are both Python's own.
    memory                4 GiB for all processes of a cell together, not 50 GiB of addresses.

In several processes a name's session lives where the name's checksum says (`sandbox.server.processes`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.client.asynchronous import Door
from sandbox.errors import BadRequest, SandboxError, SandboxUnavailable, SessionLost
from sandbox.server.compat import Observe
from sandbox.server.connected import while_connected
from sandbox.types import GIB, KIB, MIB, ExecRequest, ExecResult, Limits

SESSION_HEADER = "x-session-id"

_MEMORY_BYTES = 4 * GIB
# Their client waits the program's timeout and 5 seconds for an answer; one of them is for the way. A program may wait
# for its turn as long as it then still ends in that time.
_WAIT_SECONDS = 4.0
_PAUSE_SECONDS = 0.25
_REMEMBERED = 16384  # names of sessions; more than any server keeps alive
_CUT = "<output cut>"


class _Execute(BaseModel):
    """The body of `/execute`."""

    generated_code: str
    timeout: int | float = Field(gt=0, le=3600)
    language: Literal["ipython", "python", "python3"] = "ipython"
    std_input: str = ""
    max_output_characters: int = Field(1000, ge=0)
    traceback_verbosity: Literal["Minimal", "Plain", "Context", "Verbose"] = "Plain"


@dataclass
class _Session:
    """A session under its client's name; `id` is empty while there is none."""

    id: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


def nemo_skills_routes(door: Door, observe: Observe) -> list[Route]:
    """The routes on `door`; `observe` counts a run in the server's metrics."""
    sessions: dict[str, _Session] = {}

    async def execute(request: Request) -> Response:
        try:
            body = _Execute.model_validate_json(await request.body())
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            return _json({"error": "; ".join(f"{problem['loc']}: {problem['msg']}" for problem in found)}, 400)
        name = request.headers.get(SESSION_HEADER)
        if body.language == "ipython" and name is None:
            return _json({"error": "X-Session-ID header required for ipython sessions"}, 400)
        try:
            stateful = name is not None and body.language == "ipython"
            work = _cell(body, str(name), sessions, door, observe) if stateful else _script(body, door, observe)
            async with asyncio.timeout(body.timeout + _WAIT_SECONDS):
                answer = await while_connected(request, work)
        except BadRequest as error:
            return _json({"error": str(error)}, 400)
        except TimeoutError:
            # Said before their client's own clock ends: it would call this a timeout of the program.
            return _json({"error": "the sandbox is full: the program waited too long for its turn to end in time"}, 503)
        except (SandboxError, OSError) as error:
            return _json({"error": f"the sandbox failed, not the program: {type(error).__name__}: {error}"}, 503)
        return _json(answer) if answer is not None else Response(status_code=499)

    async def delete(request: Request) -> Response:
        name = request.path_params["name"]
        session = sessions.pop(name, None)
        if session is None or not session.id:
            return _json({"error": f"IPython session {name} not found"}, 404)
        with contextlib.suppress(SandboxError):  # it has ended by itself
            await door.close_session(session.id)
        return _json({"message": f"IPython session {name} deleted successfully"})

    async def health(_: Request) -> Response:
        return _json({"status": "healthy", "worker": "0"})

    return [
        Route("/execute", execute, methods=["POST"]),
        Route("/sessions/{name:path}", delete, methods=["DELETE"]),
        Route("/health", health, methods=["GET"]),
    ]


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status_code=status, media_type="application/json")


def _limits(body: _Execute) -> Limits:
    kept = min(16 * MIB, max(64 * KIB, 8 * body.max_output_characters))  # its first half holds what is shown
    cpu = Limits.MAXIMUM["cpu_seconds"]  # the clock's limit alone, as there
    return Limits(wall_seconds=body.timeout, cpu_seconds=cpu, memory_bytes=_MEMORY_BYTES, output_bytes=kept)


async def _script(body: _Execute, door: Door, observe: Observe) -> dict[str, Any]:
    """A whole program. An exception is "completed" and lies in stderr, as there."""
    program = ExecRequest(
        code=body.generated_code,
        mode="script",
        stdin=body.std_input,
        limits=_limits(body),
        queue_seconds=body.timeout + _WAIT_SECONDS,
    )
    deadline = time.monotonic() + body.timeout + _WAIT_SECONDS
    while True:
        try:
            result = await observe("run", door.run(program))
            break
        except SandboxError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
    if result.status == "timeout":
        return _timeout(body)
    stderr = result.stderr + (_of_string(result.error.traceback) if result.error is not None else "")
    return _answer(body, "completed", result.stdout, stderr + _ending(result))


async def _cell(
    body: _Execute, name: str, sessions: dict[str, _Session], door: Door, observe: Observe
) -> dict[str, Any]:
    session = _named(name, sessions)
    async with session.lock:  # a second cell of the same session waits, as there
        cell = ExecRequest(
            code=_dedented(body.generated_code), limits=_limits(body), queue_seconds=body.timeout + _WAIT_SECONDS
        )
        cell.check()
        deadline = time.monotonic() + body.timeout + _WAIT_SECONDS
        while True:
            created = not session.id
            try:
                session.id = session.id or await door.open_session(ttl_seconds=None, limits=cell.limits)
                result = await observe("cell", door.run_in_session(session.id, cell))
                break
            except SandboxError as error:
                gone = isinstance(error, SessionLost | SandboxUnavailable)
                if gone:
                    session.id = ""  # with its state: running the cell in a new one repeats nothing
                if not (gone or error.retryable) or time.monotonic() > deadline:
                    raise
            except asyncio.CancelledError:
                session.id = ""  # the client went away: the cell was killed, and its session with it
                raise
            await asyncio.sleep(0 if not session.id else _PAUSE_SECONDS)
        if result.state_lost:
            session.id = ""
    if result.status == "timeout":
        return {**_timeout(body), "new_session_created": True}
    stdout = result.stdout
    if result.value is not None:
        stdout += "\n" * (stdout[-1:] not in ("", "\n")) + result.value + "\n"
    if result.error is not None:
        stdout += _shown(result.error.traceback, body.traceback_verbosity)
    status = "completed" if result.status == "ok" else "error"
    answer = _answer(body, status, _trimmed(stdout), _trimmed(result.stderr + _ending(result)))
    return {**answer, "new_session_created": created or result.state_lost}


def _named(name: str, sessions: dict[str, _Session]) -> _Session:
    """The session of that name, from now on the one used last; the oldest names are forgotten."""
    session = sessions[name] = sessions.pop(name, _Session())
    if len(sessions) > _REMEMBERED:
        for old in [old for old, each in sessions.items() if not each.lock.locked()][: len(sessions) - _REMEMBERED]:
            del sessions[old]  # if it is alive yet, its own clock ends it
    return session


def _timeout(body: _Execute) -> dict[str, Any]:
    return {
        "process_status": "timeout",
        "stdout": "",
        "stderr": f"Execution timed out after {body.timeout} seconds\n",
    }


def _answer(body: _Execute, status: str, stdout: str, stderr: str) -> dict[str, Any]:
    most = body.max_output_characters
    cut = {
        name: text if len(text) <= most else text[:most] + _CUT
        for name, text in (("stdout", stdout), ("stderr", stderr))
    }
    return {"process_status": status, **cut}


def _ending(result: ExecResult) -> str:
    """What the original's client would not learn otherwise: that a limit or a signal ended the program."""
    if result.status == "memory_limit":
        return "MemoryError: the program needed more memory than it may use\n"
    return f"Killed by signal {result.signal}\n" if result.status == "killed" else ""


def _dedented(code: str) -> str:
    """`code` without the indentation of its first line, as IPython takes a cell."""
    lines = code.split("\n")
    while len(lines) > 1 and not lines[0].strip():
        lines.pop(0)
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip(" \t"))]
    return "\n".join(line.removeprefix(indent) for line in lines) if indent else code


def _shown(traceback: str, verbosity: str) -> str:
    """`traceback` as the original prints it after IPython's modes: Plain without file names, nor marks under code."""
    if verbosity in ("Context", "Verbose"):
        return traceback
    lines = traceback.rstrip("\n").split("\n")
    syntax = not traceback.startswith("Traceback") and lines[0].lstrip().startswith("File ")
    if verbosity == "Minimal" and not syntax:
        return lines[-1] + "\n"
    kept = []
    for line in lines:
        mark = bool(line.strip()) and not line.strip("~^ ")
        if mark and syntax:
            kept.append(line[: line.index("^") + 1])
        elif not mark and not line.lstrip().startswith("File "):
            kept.append(line)
    if syntax and not any(line.endswith("^") for line in kept):
        kept.insert(-1, "    ^")  # IPython marks the line's beginning where Python marks nothing
    return "\n".join(kept) + "\n"


def _of_string(traceback: str) -> str:
    """`traceback` as `python -c` writes it: the file is <string>, and the frames show no code."""
    kept, in_frame = [], False
    for line in traceback.split("\n"):
        if line.startswith('  File "program.py", line '):
            in_frame = ", in " in line
            kept.append(line.replace('"program.py"', '"<string>"'))
        elif not (in_frame and line.startswith("    ")):
            in_frame = False
            kept.append(line)
    return "\n".join(kept)


def _trimmed(text: str) -> str:
    """As the original trims a cell's output: no blank line before, one end of line behind."""
    text = text.lstrip("\n").rstrip()
    return text + "\n" if text else ""
