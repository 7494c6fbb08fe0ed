"""SandboxFusion's routes: `POST /run_code`, `POST /run_jupyter`, `GET /v1/ping`.

The contract is bytedance/SandboxFusion's `sandbox/server/sandbox_api.py` and `sandbox/runners/types.py`, as its client
on PyPI (sandbox-fusion 0.3.7) and verl 0.9 use it. Where this server differs:

    a failure of ours     HTTP 504 with status "SandboxError". The original answers 200. 504 is the one status that
                          verl asks again for; the client on PyPI asks again whatever is not 200.
    language              python alone; another is refused with 422, as the original refuses a word it does not know.
    files                 stay inside the run's folder, and must be base64: 422 otherwise.
    a full server         lets the program wait, as long as verl waits for the answer; the program's own time starts
                          with the program.
    stdout, stderr        1 MiB each, as there; of more, the head and the tail are kept, not the head alone.
    memory                memory_limit_MB is what all processes of the run hold, not addresses; without one 4 GiB, as
                          in the original's `lite` isolation. Reaching it ends the run as SIGKILL does: return_code -9.
    /run_jupyter          cell_timeout and memory_limit_MB are kept; the original reads neither. After a timeout the
                          cells before it are answered, too.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.client.asynchronous import Door
from sandbox.coding import files_to_json
from sandbox.errors import BadRequest, Overloaded, SandboxError, SessionLost
from sandbox.server.compat import Observe
from sandbox.server.connected import while_connected
from sandbox.types import GIB, MIB, ExecRequest, ExecResult, Limits

# verl 0.9, utils/reward_score/sandbox_fusion/utils.py: it waits compile_timeout + run_timeout + 10 seconds for an
# answer. Two of the ten are for the way, and for the kill of a program that reached its limit.
_WAIT_SECONDS = 8.0
_MEMORY_BYTES = 4 * GIB
_OUTPUT_BYTES = MIB
_PAUSE_SECONDS = 0.25  # between two tries of what failed on our side
_SIGKILL = -9

T = TypeVar("T")


class _RunCode(BaseModel):
    """The body of `/run_code`. Fields it does not know are left alone, as the original does."""

    compile_timeout: float = Field(10, ge=0, le=3600)
    run_timeout: float = Field(10, gt=0, le=3600)
    memory_limit_MB: int = -1
    code: str
    stdin: str | None = None
    language: Literal["python"]
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []


class _RunJupyter(BaseModel):
    """The body of `/run_jupyter`. `cell_timeout` 0: none."""

    cells: list[str]
    cell_timeout: float = Field(0, ge=0, le=3600)
    total_timeout: float = Field(45, gt=0, le=3600)
    memory_limit_MB: int = -1
    kernel: Literal["python3"] = "python3"
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []


def fusion_routes(door: Door, observe: Observe) -> list[Route]:
    """The routes on `door`; `observe` counts a run in the server's metrics."""
    # A session that waits for its turn could be ended to make room for another one.
    notebooks = asyncio.Semaphore(2)

    async def run_code(request: Request) -> Response:
        try:
            body = _RunCode.model_validate_json(await _contents(request))
            program = _program(body)
        except (ValidationError, BadRequest) as error:
            return _refusal(error)
        except Overloaded as error:
            return _failure(error)
        return await _answer(request, _code_outcome(program, body.compile_timeout + _WAIT_SECONDS, door, observe))

    async def run_jupyter(request: Request) -> Response:
        try:
            body = _RunJupyter.model_validate_json(await _contents(request))
            limits = _limits(body.total_timeout, body.memory_limit_MB)
            first = ExecRequest(code="", files=_files(body.files), fetch=tuple(body.fetch_files), limits=limits)
            first.check()
        except (ValidationError, BadRequest) as error:
            return _refusal(error)
        except Overloaded as error:
            return _failure(error)

        async def outcome() -> dict[str, Any]:
            async with notebooks:
                return await _patiently(lambda: _notebook(body, first, door, observe), _WAIT_SECONDS)

        return await _answer(request, outcome())

    async def ping(_: Request) -> Response:
        return Response('"pong"', media_type="application/json")

    return [
        Route("/run_code", run_code, methods=["POST"]),
        Route("/run_jupyter", run_jupyter, methods=["POST"]),
        Route("/v1/ping", ping, methods=["GET"]),
    ]


async def _answer(request: Request, outcome: Awaitable[dict[str, Any]]) -> Response:
    try:
        body = await while_connected(request, outcome)
    except BadRequest as error:
        return _refusal(error)
    except (SandboxError, OSError) as error:
        return _failure(error)
    if body is None:
        return Response(status_code=499)  # nobody reads it
    return Response(json.dumps(body), media_type="application/json")


def _failure(error: SandboxError | OSError) -> Response:
    described = {"status": "SandboxError", "message": f"{type(error).__name__}: {error}"}
    headers = {"retry-after": "1"} if isinstance(error, Overloaded) else {}
    return Response(json.dumps(described), status_code=504, headers=headers, media_type="application/json")


async def _contents(request: Request) -> bytes:
    """Its body. Raises `Overloaded` where the bodies that are worked on take all memory there is for them."""
    try:
        return await request.body()
    except HTTPException as error:
        if error.status_code == 429:
            raise Overloaded(error.detail) from None
        raise


def _refusal(error: ValidationError | BadRequest) -> Response:
    """The request cannot be run as asked: 422 and "detail", as the original's framework says it."""
    if isinstance(error, BadRequest):
        problems: list[Any] = [{"type": "value_error", "loc": ["body"], "msg": str(error)}]
    else:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in found]
    return Response(json.dumps({"detail": problems}), status_code=422, media_type="application/json")


def _program(body: _RunCode) -> ExecRequest:
    program = ExecRequest(
        code=body.code,
        mode="script",
        stdin=body.stdin or "",
        files=_files(body.files),
        fetch=tuple(body.fetch_files),
        limits=_limits(body.run_timeout, body.memory_limit_MB),
        queue_seconds=body.compile_timeout + _WAIT_SECONDS,
    )
    program.check()
    return program


def _limits(wall_seconds: float, memory_mib: int) -> Limits:
    """No limit of processor time but the clock's: the original has none."""
    memory = memory_mib * MIB if memory_mib > 0 else _MEMORY_BYTES
    cpu = Limits.MAXIMUM["cpu_seconds"]
    return Limits(wall_seconds=wall_seconds, cpu_seconds=cpu, memory_bytes=memory, output_bytes=_OUTPUT_BYTES)


def _files(files: dict[str, str | None]) -> dict[str, bytes]:
    """As the original restores them: a file without contents, or marked to be ignored, is left out."""
    wanted = {name: text for name, text in files.items() if text is not None and "IGNORE_THIS_FILE" not in name}
    contents = {}
    for name, text in wanted.items():
        try:
            contents[name.removeprefix("./")] = base64.b64decode("".join(text.split()), validate=True)
        except ValueError as error:
            raise BadRequest(f"files: the contents of {name!r:.300} are not base64: {error}") from None
    return contents


async def _patiently(once: Callable[[], Awaitable[T]], seconds: float) -> T:
    """`once()`, again for so long while the failure is ours: a program without a session may run a second time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await once()
        except SandboxError as error:
            if not (error.retryable or isinstance(error, SessionLost)) or time.monotonic() > deadline:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


async def _code_outcome(program: ExecRequest, wait_seconds: float, door: Door, observe: Observe) -> dict[str, Any]:
    result = await _patiently(lambda: observe("run", door.run(program)), wait_seconds)
    return {
        "status": "Success" if result.exit_code == 0 else "Failed",
        "message": "",
        "compile_result": None,
        "run_result": _command(result),
        "executor_pod_name": None,
        "files": files_to_json(result.files),
    }


def _command(result: ExecResult) -> dict[str, Any]:
    """`result` as their CommandRunResult."""
    timeout = result.status == "timeout"
    code: int | None = result.exit_code
    if code is None and not timeout:
        code = -result.signal if result.signal else _SIGKILL
    return {
        "status": "TimeLimitExceeded" if timeout else "Finished",
        "execution_time": result.wall_seconds,
        "cpu_time": result.cpu_seconds,
        "return_code": code,
        "stdout": result.stdout,
        "stderr": result.stderr + (result.error.traceback if result.error is not None else ""),
    }


async def _notebook(body: _RunJupyter, first: ExecRequest, door: Door, observe: Observe) -> dict[str, Any]:
    """All cells in a session of their own. An exception ends its cell, a limit ends the rest."""
    session = await door.open_session(ttl_seconds=body.total_timeout + 60, limits=first.limits)
    cells: list[dict[str, Any]] = []
    result = ExecResult(status="ok", exit_code=0)
    wall = cpu = 0.0
    try:
        for number, code in enumerate(body.cells):
            left = body.total_timeout - wall
            if left <= 0:
                result = replace(result, status="timeout", exit_code=None)
                break
            seconds = min(left, body.cell_timeout or left)
            cell = replace(
                first,
                code=code,
                files=first.files if number == 0 else {},
                fetch=first.fetch if number == len(body.cells) - 1 else (),
                limits=replace(first.limits, wall_seconds=seconds),
            )
            result = await observe("cell", door.run_in_session(session, cell))
            wall, cpu = wall + result.wall_seconds, cpu + result.cpu_seconds
            cells.append(_cell(result))
            if result.state_lost:
                break
    finally:
        await _close(door, session)
    done = len(cells) == len(body.cells) and not result.state_lost
    driver = replace(result, wall_seconds=wall, cpu_seconds=cpu, stdout="", stderr="", error=None)
    return {
        "status": "Success" if done else "Failed",
        "message": "",
        "driver": {**_command(driver), **({"return_code": 0} if done else {})},
        "cells": cells,
        "executor_pod_name": None,
        "files": files_to_json(result.files),
    }


async def _close(door: Door, session: str) -> None:
    with contextlib.suppress(SandboxError):  # it has ended by itself, or its clock ends it
        await door.close_session(session)


def _cell(result: ExecResult) -> dict[str, Any]:
    """`result` as their CellRunResult: `display` and `error` as a kernel's messages have them."""
    errors = []
    if result.error is not None:
        lines = result.error.traceback.rstrip("\n").split("\n")
        errors = [{"ename": result.error.type, "evalue": result.error.message, "traceback": lines}]
    elif result.status != "ok":
        name = {"timeout": "TimeoutError", "memory_limit": "MemoryError"}.get(result.status, "DeadKernelError")
        errors = [{"ename": name, "evalue": f"the cell ended by {result.status}", "traceback": []}]
    return {
        "stdout": result.stdout,
        "stderr": result.stderr,
        "display": [{"text/plain": result.value}] if result.value is not None else [],
        "error": errors,
    }
