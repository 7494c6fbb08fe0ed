"""The engine as both doors use it: in this process, and behind the HTTP server.

It adds to the engine what every caller wants: a keyed request runs once (`sandbox.engine.idempotency`), and many
runs at a time go through without filling the queue. It starts nothing by itself before `start`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from sandbox.engine.idempotency import Outcomes
from sandbox.errors import Overloaded
from sandbox.types import ExecRequest, ExecResult, Limits

if TYPE_CHECKING:
    from sandbox.engine import Engine, EngineStatus

DEFAULT_LIMITS = Limits()
# How long a cell whose caller vanished may go on, so that a retry with its key finds it: longer than a client's
# first pauses between retries, shorter than anyone would wait for a slot.
_CELL_LINGER_SECONDS = 3.0
# Sessions whose limits are remembered; more than any engine keeps alive.
_REMEMBERED_SESSIONS = 16384


class Embedded:
    """The verbs of the engine, with keys honoured, and `run_in_bulk`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._outcomes = Outcomes()
        self.at_a_time = 1  # programs of `run_in_bulk` that are on at a time; more wait their turn
        self._bulk = asyncio.Semaphore(1)
        self._limits: OrderedDict[str, Limits] = OrderedDict()

    async def start(self) -> None:
        await self._engine.start()
        # Twice the workers: one program waits behind each that runs, so that no slot is idle between two.
        self.at_a_time = 2 * self._engine.status().workers
        self._bulk = asyncio.Semaphore(self.at_a_time)

    async def close(self) -> None:
        await self._outcomes.close()
        await self._engine.close()

    def status(self) -> EngineStatus:
        return self._engine.status()

    async def run(self, request: ExecRequest) -> ExecResult:
        return await self._once(request)

    async def _once(self, request: ExecRequest) -> ExecResult:
        if request.key is None:
            return await self._engine.run(request)
        # A run without a session has no effect that a second run could repeat: it is killed at once when nobody waits.
        return await self._outcomes.once(
            ("run", request.key), _fingerprint(request), lambda: self._engine.run(request), linger_seconds=0
        )

    async def run_in_bulk(self, request: ExecRequest) -> ExecResult:
        """As `run`, waiting its turn outside the engine's queue; a full queue is waited out for `queue_seconds`."""
        async with self._bulk:
            deadline = time.monotonic() + request.queue_seconds
            while True:
                try:
                    return await self._once(request)
                except Overloaded as error:
                    if time.monotonic() + error.retry_after_seconds > deadline:
                        raise
                    await asyncio.sleep(min(error.retry_after_seconds, 0.25))

    async def open_session(
        self, *, ttl_seconds: float | None = None, limits: Limits = DEFAULT_LIMITS, key: str | None = None
    ) -> str:
        def start() -> Coroutine[Any, Any, str]:
            return self._engine.open_session(ttl_seconds=ttl_seconds, limits=limits)

        if key is None:
            session_id = await start()
        else:
            fingerprint = hash((ttl_seconds, limits))
            session_id = await self._outcomes.once(("open", key), fingerprint, start, _CELL_LINGER_SECONDS)
        self._remember(session_id, limits)
        return session_id

    def session_limits(self, session_id: str) -> Limits:
        """The limits that hold for a cell of this session which brings none."""
        return self._limits.get(session_id, DEFAULT_LIMITS)

    async def run_in_session(self, session_id: str, request: ExecRequest) -> ExecResult:
        def start() -> Coroutine[Any, Any, ExecResult]:
            return self._engine.run_in_session(session_id, request)

        if request.key is None:
            return await start()
        key = ("cell", session_id, request.key)
        return await self._outcomes.once(key, _fingerprint(request), start, _CELL_LINGER_SECONDS)

    async def fork_session(self, session_id: str, *, key: str | None = None) -> str:
        def start() -> Coroutine[Any, Any, str]:
            return self._engine.fork_session(session_id)

        if key is None:
            child = await start()
        else:
            child = await self._outcomes.once(("fork", session_id, key), 0, start, _CELL_LINGER_SECONDS)
        self._remember(child, self.session_limits(session_id))
        return child

    async def close_session(self, session_id: str) -> None:
        self._limits.pop(session_id, None)
        await self._engine.close_session(session_id)

    def _remember(self, session_id: str, limits: Limits) -> None:
        self._limits[session_id] = limits
        if len(self._limits) > _REMEMBERED_SESSIONS:
            self._limits.popitem(last=False)


def _fingerprint(request: ExecRequest) -> int:
    """A number that tells a repeated request from a key used twice by mistake."""
    files = tuple(sorted(request.files.items()))
    return hash((request.code, request.mode, request.stdin, request.seed, request.fetch, request.limits, files))
