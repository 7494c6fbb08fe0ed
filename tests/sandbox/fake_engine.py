"""A stand-in at the engine's seam, for what a real engine cannot be told to do: block, fill up, die on command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from sandbox.errors import Overloaded, SandboxError, SessionLost
from sandbox.types import ExecRequest, ExecResult, Limits


@dataclass
class FakeStatus:
    isolation: str = "jail"
    workers: int = 2
    busy: int = 0
    queued: int = 0
    live_sessions: int = 0
    zygote_restarts: int = 0


class FakeEngine:
    """Answers each program with its own code as stdout.

    "block" waits until cancelled or `release` is set. `failures` are raised by the next calls, in turn.
    """

    def __init__(self, max_queue: int = 1024) -> None:
        self.max_queue = max_queue
        self.ran: list[str] = []
        self.killed: list[str] = []
        self.failures: list[SandboxError] = []
        self.release = asyncio.Event()
        self.running = 0
        self.most_running = 0
        self.closed = False
        self.cells: dict[str, list[str]] = {}
        self.on_run: Callable[[ExecRequest], None] = lambda request: None

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True

    def status(self) -> FakeStatus:
        return FakeStatus(busy=self.running, live_sessions=len(self.cells))

    async def run(self, request: ExecRequest) -> ExecResult:
        if self.failures:
            raise self.failures.pop(0)
        if self.running >= self.max_queue:
            raise Overloaded("the queue is full", 0.01)
        self.ran.append(request.code)
        self.on_run(request)
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
        if session_id not in self.cells:
            raise SessionLost(f"no session {session_id}")
        del self.cells[session_id]
