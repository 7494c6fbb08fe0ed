"""Each keyed request runs once: a repeat joins the run that is on, or gets the outcome that is kept.

A client that lost its connection cannot know whether its request arrived. With the same key it asks again, and a cell
that changes a session's state is still executed once. It refuses a key that comes back with another request.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from sandbox.errors import BadRequest
from sandbox.types import MIB, ExecResult

Outcome = TypeVar("Outcome", ExecResult, str)


class _Entry:
    """A run, and those who wait for it: told as soon as it is over, without a turn of the event loop between."""

    def __init__(self, fingerprint: int, work: Coroutine[Any, Any, Any]) -> None:
        self.fingerprint = fingerprint
        self.waiting: list[asyncio.Future[Any]] = []
        self.outcome: Any = None  # None: there is none yet, or it failed
        self.failure: Exception | None = None
        self.over = False
        self.bytes = 0
        self.abandon: asyncio.TimerHandle | None = None
        self._work = work
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._ended)

    async def _run(self) -> None:
        try:
            self.outcome = await self._work
        except Exception as error:  # noqa: BLE001 - told to those who wait
            self.failure = error
        self._tell()

    def _ended(self, _: asyncio.Task[None]) -> None:
        if not self.over:  # it was cancelled, perhaps before it began
            self._work.close()
            self._tell()

    def _tell(self) -> None:
        self.over = True
        for future in self.waiting:
            if not future.done():
                if self.failure is not None:
                    future.set_exception(self.failure)
                elif self.outcome is not None:
                    future.set_result(self.outcome)
                else:
                    future.cancel()


class Outcomes:
    """The latest outcomes by key: at most `capacity` of them and `capacity_bytes` together.

    Only outcomes are kept. A request that failed by the sandbox's fault is forgotten, so that a retry tries.
    """

    def __init__(self, capacity: int = 8192, capacity_bytes: int = 64 * MIB) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        # Apart: a run that takes long must not keep what came after it from being forgotten.
        self._running: dict[Hashable, _Entry] = {}
        self._kept: OrderedDict[Hashable, _Entry] = OrderedDict()

    async def once(
        self,
        key: Hashable,
        fingerprint: int,
        start: Callable[[], Coroutine[Any, Any, Outcome]],
        linger_seconds: float,
    ) -> Outcome:
        """The outcome of `start()`, run now unless `key` has run or is running.

        When the last caller is cancelled, the run goes on for `linger_seconds` so that a retry can join it, and is
        then cancelled.

        Raises:
            BadRequest: the key belongs to a request with another fingerprint.
        """
        while True:
            entry = self._running.get(key) or self._kept.get(key)
            if entry is None:
                self._running[key] = entry = _Entry(fingerprint, start())
            elif entry.fingerprint != fingerprint:
                raise BadRequest("the key was used for another request; make a new key for each request")
            try:
                outcome: Outcome = await self._wait(key, entry, linger_seconds)
                return outcome
            except asyncio.CancelledError:
                # The run was given up by its earlier callers just as this one joined: start it again.
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise

    async def _wait(self, key: Hashable, entry: _Entry, linger_seconds: float) -> Any:
        if entry.abandon is not None:
            entry.abandon.cancel()
            entry.abandon = None
        if entry.over:
            self._settle(key, entry)
            if entry.outcome is None:
                raise entry.failure or asyncio.CancelledError()
            return entry.outcome
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        entry.waiting.append(future)
        try:
            return await future
        finally:
            entry.waiting.remove(future)
            if entry.over:
                self._settle(key, entry)
            elif not entry.waiting:
                if linger_seconds > 0:
                    loop = asyncio.get_running_loop()
                    entry.abandon = loop.call_later(linger_seconds, self._give_up, key, entry)
                else:
                    self._give_up(key, entry)

    def _give_up(self, key: Hashable, entry: _Entry) -> None:
        if entry.over:
            self._settle(key, entry)
            return
        entry.task.cancel()
        self._forget(key, entry)

    def _settle(self, key: Hashable, entry: _Entry) -> None:
        if entry.outcome is None:
            self._forget(key, entry)
            return
        if self._running.get(key) is entry:
            del self._running[key]
            entry.bytes = _size(entry.outcome)
            self._bytes += entry.bytes
            self._kept[key] = entry
        elif key in self._kept:
            self._kept.move_to_end(key)
        while len(self._kept) > self._capacity or self._bytes > self._capacity_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.bytes

    def _forget(self, key: Hashable, entry: _Entry) -> None:
        if self._running.get(key) is entry:
            del self._running[key]

    async def close(self) -> None:
        """Give up what lingers."""
        for key, entry in list(self._running.items()):
            if entry.abandon is not None:
                entry.abandon.cancel()
            self._give_up(key, entry)
        self._kept.clear()
        self._bytes = 0


def _size(outcome: ExecResult | str) -> int:
    if isinstance(outcome, str):
        return 256
    texts = [outcome.stdout, outcome.stderr, outcome.value or ""]
    if outcome.error is not None:
        texts += [outcome.error.type, outcome.error.message, outcome.error.traceback]
    # As they lie in memory: one character beyond U+FFFF makes four bytes of each in its text.
    files = sum(sys.getsizeof(name) + sys.getsizeof(content) for name, content in outcome.files.items())
    return 1024 + sum(map(sys.getsizeof, texts)) + files
