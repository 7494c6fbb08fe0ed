"""One sandbox made of many servers: what `Sandbox(["http://a:8000", "http://b:8000"])` stands on.

A program goes to the server with the least work. A session stays where it was opened, and its id names the server. A
server that stops answering is gone round: its programs start again elsewhere, its sessions are lost and said to be.
An outcome is delivered once. A program whose server died before answering was begun twice, never finished twice in
sight of a live server: a server kills what it runs for a connection that was given up.

It refuses to move a session, and to call a server dead because a program is slow: only its health check counts.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from sandbox.client.fleet import Fleet, Replica
from sandbox.errors import Overloaded, SandboxUnavailable, SessionLost
from sandbox.types import ExecRequest, ExecResult, Limits

T = TypeVar("T")

# Programs given to one server at a time: two of the batches that `Remote` sends, so that it never waits for us, and
# few enough that little starts again when it dies.
_ROOM = 128
_PAUSE_SECONDS = 0.05


class Replicas:
    """The engine's verbs, answered by whichever of `urls` is free. See `sandbox.client.asynchronous.Door`.

    An address "dns://name:port" stands for every address that the name has, asked again every few seconds: so pods
    that come and go are followed.

    Raises:
        InputError: no address was given, one twice, or one that is none.
    """

    def __init__(self, urls: Sequence[str], *, token: str | None = None, patience_seconds: float = 60.0) -> None:
        self._fleet = Fleet(urls, token, self._after_probe)
        self._patience_seconds = patience_seconds
        self._waiting: deque[asyncio.Future[Replica]] = deque()

    async def start(self) -> None:
        """Ask every server once; raise `SandboxUnavailable` if none answers within `patience_seconds`."""
        await self._fleet.start(self._patience_seconds)

    async def close(self) -> None:
        for future in self._waiting:
            future.cancel()
        await self._fleet.close()

    async def run(self, request: ExecRequest) -> ExecResult:
        return await self._anywhere(request, lambda replica, keyed: replica.remote.run(keyed))

    async def run_in_bulk(self, request: ExecRequest) -> ExecResult:
        return await self._anywhere(request, lambda replica, keyed: replica.remote.run_in_bulk(keyed))

    async def open_session(self, *, ttl_seconds: float | None, limits: Limits) -> str:
        replica = self._fleet.least(lambda each: each.sessions)
        if replica is None:
            raise self._fleet.none_answers()
        name = await self._staying(replica, lambda: replica.remote.open_session(ttl_seconds=ttl_seconds, limits=limits))
        replica.sessions += 1
        return f"{replica.url} {name}"

    async def run_in_session(self, session_id: str, request: ExecRequest) -> ExecResult:
        replica, name = self._of(session_id)
        keyed = replace(request, key=request.key or secrets.token_hex(16))
        return await self._staying(replica, lambda: replica.remote.run_in_session(name, keyed))

    async def fork_session(self, session_id: str) -> str:
        replica, name = self._of(session_id)
        child = await self._staying(replica, lambda: replica.remote.fork_session(name))
        replica.sessions += 1
        return f"{replica.url} {child}"

    async def close_session(self, session_id: str) -> None:
        replica, name = self._of(session_id)
        replica.sessions -= 1
        await self._staying(replica, lambda: replica.remote.close_session(name))

    # -- where a program goes ----------------------------------------------------------------------------------

    async def _anywhere(
        self, request: ExecRequest, ask: Callable[[Replica, ExecRequest], Awaitable[ExecResult]]
    ) -> ExecResult:
        """The outcome of `request` from one server or, if that one is lost, from another."""
        keyed = replace(request, key=request.key or secrets.token_hex(16))
        deadline: float | None = None  # runs from the first failure, not while it waits its turn
        while True:
            replica = await self._turn()
            try:
                return await self._unless_gone(replica, ask(replica, keyed))
            except Overloaded as error:
                replica.resting_until = time.monotonic() + error.retry_after_seconds
                failure: SandboxUnavailable | Overloaded = error
            except SandboxUnavailable as error:
                failure = error
                # Asked now, so that a dead server gets no more. A live one may have lost the connection only: the
                # program is asked for again with its key, there or elsewhere once that server has killed it.
                await self._fleet.probe(replica)
            finally:
                replica.outstanding -= 1
                self._give_turns()
            deadline = deadline or time.monotonic() + self._patience_seconds
            if time.monotonic() > deadline:
                raise failure
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _turn(self) -> Replica:
        """A server with room, counted as busy by one more."""
        if not self._waiting and (replica := self._free()) is not None:
            replica.outstanding += 1
            return replica
        future: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it came at the moment the caller left
                future.result().outstanding -= 1
                self._give_turns()
            raise

    def _give_turns(self) -> None:
        while self._waiting and (replica := self._free()) is not None:
            future = self._waiting.popleft()
            if not future.done():
                replica.outstanding += 1
                future.set_result(replica)

    def _free(self) -> Replica | None:
        return self._fleet.least(lambda each: each.outstanding, room=_ROOM)

    def _after_probe(self, none_up_seconds: float) -> None:
        self._give_turns()
        if none_up_seconds > self._patience_seconds:
            while self._waiting:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_exception(self._fleet.none_answers())

    async def _unless_gone(self, replica: Replica, work: Awaitable[T]) -> T:
        """`work`, or `SandboxUnavailable` as soon as its server is lost; the connection is then closed."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, replica.gone), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise SandboxUnavailable(f"{replica.url} is lost: {replica.error}")
        finally:
            # To its end: a connection that is given up half made is closed by its own task, and by nobody else.
            task.cancel()
            await asyncio.wait((task,))

    # -- where a session stays ---------------------------------------------------------------------------------

    def _of(self, session_id: str) -> tuple[Replica, str]:
        url, _, name = session_id.partition(" ")
        if (replica := self._fleet.get(url)) is None:
            raise SessionLost(f"the server of this session, {url}, is gone")
        return replica, name

    async def _staying(self, replica: Replica, ask: Callable[[], Awaitable[T]]) -> T:
        """`ask()`, again while its server lives; each verb carries a key, so that it is done once."""
        deadline = time.monotonic() + self._patience_seconds
        while True:
            try:
                return await self._unless_gone(replica, ask())
            except SandboxUnavailable as error:
                await self._fleet.probe(replica)
                if not replica.up:
                    raise SessionLost(f"the server of this session, {replica.url}, is lost: {replica.error}") from error
                if time.monotonic() > deadline:
                    raise
            except Overloaded as error:
                if time.monotonic() + error.retry_after_seconds > deadline:
                    raise
                await asyncio.sleep(error.retry_after_seconds)
            await asyncio.sleep(_PAUSE_SECONDS)
