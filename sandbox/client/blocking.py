"""The verbs of the sandbox for callers without an event loop: `Sandbox` and `Session`.

Each verb runs that of `sandbox.client.asynchronous` on a private loop in a thread of its own; there is no second
implementation. Usable from several threads. It refuses to work in a process forked after it was made: the thread is
not there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar, Unpack

from sandbox.client.asynchronous import (
    AHEAD,
    DEFAULT_LIMITS,
    AsyncSandbox,
    AsyncSession,
    LocalOptions,
    RunOptions,
    as_request,
)
from sandbox.types import ExecRequest, ExecResult, Limits

T = TypeVar("T")


class _Loop:
    """An event loop in a thread. `result` runs a coroutine on it and waits."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)
        self._thread.start()

    @property
    def forked(self) -> bool:
        return os.getpid() != self._pid

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        problem = None
        if self.forked:
            problem = "this Sandbox was made before a fork; make one in each process"
        elif self._loop.is_closed():
            problem = "this sandbox is closed"
        elif threading.current_thread() is self._thread:
            problem = "the blocking Sandbox was called on its own event loop; use AsyncSandbox there"
        if problem is not None:
            coroutine.close()
            raise RuntimeError(problem)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def result(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = self.submit(coroutine)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("this sandbox was closed by another thread while it ran this") from None
        except BaseException:
            future.cancel()  # Ctrl-C in the caller's thread: kill the run, too
            raise

    def stop(self) -> None:
        """End the thread; whoever waits for a result in another thread is told so."""
        self.submit(_cancel_others()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Sandbox:
    """Runs programs, here (`Sandbox()`) or on a server (`Sandbox("http://host:8000", token=…)`).

    `url` is None for an engine in this process, an http, https or unix:///path/to.sock address of a server, several
    of them for replicas, or docker:// for a container of its own. An embedded engine starts at once, so that a machine
    without isolation is reported here.

    `patience_seconds` is how long a server that is full or cannot be reached is asked again before `Overloaded` or
    `SandboxUnavailable` is raised; a retried program or cell is run once. The other options are those of an embedded
    engine.

    Raises:
        SandboxUnavailable: this machine offers no isolation.
        InputError: options of an embedded engine were given with an address.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        token: str | None = None,
        patience_seconds: float = 60.0,
        **options: Unpack[LocalOptions],
    ) -> None:
        self._verbs = AsyncSandbox(url, token=token, patience_seconds=patience_seconds, **options)
        self._loop = _Loop()
        # Also at interpreter exit, for a caller that does not close.
        self._finalizer = weakref.finalize(self, _close, self._loop, self._verbs)
        try:
            self._loop.result(self._verbs.start())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all runs and sessions of this sandbox. Closing twice does nothing."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, code: str, **options: Unpack[RunOptions]) -> ExecResult:
        """What `code` does in a fresh process. Ctrl-C kills the program.

        Raises:
            BadRequest: it cannot be run as asked.
            Overloaded: no slot became free within `queue_seconds`, or the queue stayed full.
            SandboxUnavailable: no sandbox can serve this.
        """
        return self._loop.result(self._verbs.run(code, **options))

    def run_many(self, requests: Iterable[ExecRequest | str]) -> Iterator[ExecResult]:
        """The results of `requests`, in their order, as they become known.

        `requests` is read in the caller's thread, at most `AHEAD` beyond the last result given, so it may be endless
        or may itself use this sandbox. The first `SandboxError` that outlives the retries is raised in its place and
        ends the iteration; what is then unfinished is killed.
        """
        pending: deque[concurrent.futures.Future[ExecResult]] = deque()
        try:
            for program in requests:
                pending.append(self._loop.submit(self._verbs.run_in_bulk(as_request(program))))
                while pending and (len(pending) >= AHEAD or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def session(self, *, ttl_seconds: float | None = None, limits: Limits = DEFAULT_LIMITS) -> Session:
        """A session, open: cells that share their state, one process alive between them.

        `ttl_seconds` is how long it may lie idle (None: the engine's own time); `limits` hold for each cell that
        brings none.

        Raises:
            Overloaded: there are as many sessions as the engine allows, and none is idle.
        """
        verbs = self._verbs.session(ttl_seconds=ttl_seconds, limits=limits)
        self._loop.result(verbs.open())
        return Session(self._loop, verbs)


class Session:
    """A running Python with its variables and files. Made by `Sandbox.session` and `fork`."""

    def __init__(self, loop: _Loop, verbs: AsyncSession) -> None:
        self._loop = loop
        self._verbs = verbs

    def run(self, code: str, **options: Unpack[RunOptions]) -> ExecResult:
        """What `code` does as the next cell.

        Raises:
            SessionLost: the state is gone: closed, idle too long, evicted, or ended by an earlier cell's limit.
            SessionBusy: another cell of this session is running.
        """
        return self._loop.result(self._verbs.run(code, **options))

    def fork(self) -> Session:
        """A second session with this one's state, memory and files; neither sees what the other does later.

        Raises:
            SessionBusy: a cell is running, or the session's own threads make a fork unsafe.
            SessionLost: there is no state to fork.
        """
        return Session(self._loop, self._loop.result(self._verbs.fork()))

    def close(self) -> None:
        """End the session and drop its state. Closing twice, or one that is lost already, does nothing."""
        self._loop.result(self._verbs.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _close(loop: _Loop, verbs: AsyncSandbox) -> None:
    if loop.forked:
        return  # the parent's to close
    try:
        loop.result(verbs.close())
    finally:
        loop.stop()
