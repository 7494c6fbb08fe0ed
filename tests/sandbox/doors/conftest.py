"""A real server and a real embedded sandbox, started once; and a stand-in at the engine's seam.

The stand-in is for what a real engine cannot be told to do: block, fill up, die on command.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import uvicorn

from sandbox import Sandbox
from sandbox.client.embedded import Embedded
from sandbox.errors import Overloaded, SandboxError, SessionLost
from sandbox.server.app import build_app
from sandbox.server.connections import Bounds, Connections
from sandbox.server.serve import _address, _listen, http_config
from sandbox.types import ExecRequest, ExecResult, Limits

ROOT = Path(__file__).parents[3]


@dataclass
class FakeStatus:
    isolation: str = "jail"
    workers: int = 2
    busy: int = 0
    queued: int = 0
    live_sessions: int = 0
    zygote_restarts: int = 0
    supervisor_faults: int = 0


class FakeEngine:
    """Answers each program with its own code as stdout; one that starts with "block" waits for `release`.

    `failures` are raised by the next calls, in turn.
    """

    def __init__(self) -> None:
        self.max_running = 1024
        self.ran: list[str] = []
        self.killed: list[str] = []
        self.failures: list[SandboxError] = []
        self.release = asyncio.Event()
        self.running = 0
        self.most_running = 0
        self.cells: dict[str, list[str]] = {}

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def status(self) -> FakeStatus:
        return FakeStatus(busy=self.running, live_sessions=len(self.cells))

    async def run(self, request: ExecRequest) -> ExecResult:
        if self.failures:
            raise self.failures.pop(0)
        if self.running >= self.max_running:
            raise Overloaded("the queue is full", 0.01)
        self.ran.append(request.code)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if request.code.startswith("block"):
                await self.release.wait()
            else:
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.killed.append(request.code)
            raise
        finally:
            self.running -= 1
        return ExecResult(status="ok", stdout=request.code, exit_code=0, files=dict(request.files))

    async def open_session(self, *, ttl_seconds: float | None = None, limits: Limits | None = None) -> str:
        if self.failures:
            raise self.failures.pop(0)
        session_id = f"s{len(self.cells)}"
        self.cells[session_id] = []
        return session_id

    async def run_in_session(self, session_id: str, request: ExecRequest) -> ExecResult:
        if session_id not in self.cells:
            raise SessionLost(f"no session {session_id}")
        result = await self.run(request)
        self.cells[session_id].append(request.code)
        return replace(result, value=str(len(self.cells[session_id])), peak_memory_bytes=request.limits.memory_bytes)

    async def fork_session(self, session_id: str) -> str:
        child = f"s{len(self.cells)}"
        self.cells[child] = list(self.cells[session_id])
        return child

    async def close_session(self, session_id: str) -> None:
        self.cells.pop(session_id, None)


@contextlib.asynccontextmanager
async def serve_fake(
    port: int = 0,
    bounds: Bounds | None = None,
    **options: object,
) -> AsyncIterator[tuple[FakeEngine, str]]:
    """A stand-in engine behind the real server on a real socket, and the server's address."""
    engine = FakeEngine()
    door = Embedded(engine)  # type: ignore[arg-type]
    await door.start()
    connections = Connections(bounds or Bounds())
    app = build_app(door, connections=connections, **options)  # type: ignore[arg-type]
    listening = _listen("127.0.0.1", port)
    server = uvicorn.Server(http_config(app, connections, drain_seconds=30))
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield engine, _address(listening)
    finally:
        engine.release.set()
        server.should_exit = True
        await task
        await door.close()


@pytest.fixture
def fake() -> Callable[..., contextlib.AbstractAsyncContextManager[tuple[FakeEngine, str]]]:
    """`async with fake() as (engine, url)`."""
    return serve_fake


@pytest.fixture(scope="session")
def fake_engine() -> type[FakeEngine]:
    return FakeEngine


@contextlib.contextmanager
def serve_process(*flags: str, python: str = sys.executable) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m sandbox serve` on a free port, ready, and its address; ended by SIGTERM."""
    command = [python, "-m", "sandbox", "serve", "--port", "0", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "listening on " in line, line + process.stderr.read()
        yield process, line.split("listening on ")[1].split(" ")[0]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.stderr.close()


@pytest.fixture
def serving() -> Callable[..., contextlib.AbstractContextManager[tuple[subprocess.Popen[str], str]]]:
    """`with serving(flags…) as (process, url)`."""
    return serve_process


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The address of a real server with the real engine."""
    with serve_process("--workers", "2") as (_, url):
        yield url


@pytest.fixture(scope="session")
def embedded() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def remote(server_url: str) -> Iterator[Sandbox]:
    with Sandbox(server_url) as sandbox:
        yield sandbox


@pytest.fixture(params=["embedded", "remote"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """The same verbs at both doors."""
    return request.getfixturevalue(request.param)
