"""The verbs of the sandbox, asynchronous: `AsyncSandbox` and its sessions, embedded or over HTTP.

    async with AsyncSandbox() as sandbox:                         # an engine in this process
    async with AsyncSandbox("http://host:8000", token=…) as sandbox:   # a server's
        result = await sandbox.run("1 + 1")
        async with sandbox.session() as session:
            await session.run("x = 41")
            other = await session.fork()
            await other.run("x + 1")
        async for result in sandbox.run_many(programs):
            …

`blocking` beside this file runs these very verbs on a thread for callers without an event loop. A verb returns an
`ExecResult` or raises a `SandboxError`; it never makes the one out of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypedDict, Unpack, cast

from sandbox.errors import InputError, SandboxUnavailable, SessionLost
from sandbox.types import ExecRequest, ExecResult, Limits, Mode

if TYPE_CHECKING:
    from sandbox.engine import Engine

# Results that `run_many` may hold back behind a slow one. Two slots answer about 250 programs a second, so a program
# that spends its ten seconds at the head holds up about 1,250 others: with fewer places the slots would stand idle.
AHEAD = 2048
# Requests that are read in one turn of the event loop, and so travel together: one HTTP request each cost the client
# more than the programs cost the server.
_AT_A_TIME = 64
DEFAULT_LIMITS = Limits()
Programs = Iterable[ExecRequest | str] | AsyncIterable[ExecRequest | str]


class RunOptions(TypedDict, total=False):
    """What `run` takes besides the code; see `ExecRequest` for each."""

    mode: Mode
    stdin: str
    files: Mapping[str, bytes]
    fetch: tuple[str, ...]
    fetch_figures: bool
    limits: Limits
    seed: int
    queue_seconds: float
    key: str | None


class EngineOptions(TypedDict, total=False):
    """What an embedded sandbox takes; see `sandbox.engine.Engine` for each."""

    workers: int | None
    preload: tuple[str, ...]
    isolation: Literal["auto", "jail", "pod", "none"]
    max_queue: int
    max_sessions: int
    session_ttl_seconds: float


class LocalOptions(EngineOptions, total=False):
    """The same, and in how many processes of their own the engines are; left out or 1: one, in this process."""

    processes: int


class Door(Protocol):
    """Where the verbs go: the engine in this process (`embedded`) or a server (`remote`)."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def run(self, request: ExecRequest) -> ExecResult: ...
    async def run_in_bulk(self, request: ExecRequest) -> ExecResult: ...
    async def open_session(self, *, ttl_seconds: float | None, limits: Limits) -> str: ...
    async def run_in_session(self, session_id: str, request: ExecRequest) -> ExecResult: ...
    async def fork_session(self, session_id: str) -> str: ...
    async def close_session(self, session_id: str) -> None: ...


def open_door(
    url: str | Sequence[str] | None, token: str | None, patience_seconds: float, options: LocalOptions
) -> Door:
    """The door for these arguments, not started. Several addresses are a list, or one text with commas.

    Raises:
        InputError: options of an embedded engine were given with the address of a server.
    """
    if url is None:
        if token is not None:
            raise InputError("a token was given without the address of a server; an embedded sandbox takes none")
        processes = options.pop("processes", 1)
        if processes != 1:
            from sandbox.client.local_server import LocalServer

            return LocalServer(processes, options, patience_seconds=patience_seconds)
        from sandbox.client.embedded import Embedded
        from sandbox.engine import Engine

        engine: Engine = Engine(**cast(EngineOptions, options))
        return Embedded(engine)
    if options:
        names = ", ".join(options)
        raise InputError(f"{names}: set by the server at {url}, not by its clients; leave out these or the url")
    if not isinstance(url, str) or "," in url:
        from sandbox.client.replicas import Replicas

        servers = url.split(",") if isinstance(url, str) else url
        return Replicas(servers, token=token, patience_seconds=patience_seconds)
    if url.startswith("docker://"):
        from sandbox.containers.container import Container

        return Container(url, patience_seconds=patience_seconds)
    from sandbox.client.remote import Remote

    return Remote(url, token=token, patience_seconds=patience_seconds)


def as_request(program: ExecRequest | str) -> ExecRequest:
    """`program` as a request that can be run as asked.

    Raises:
        BadRequest: it cannot.
    """
    request = ExecRequest(code=program) if isinstance(program, str) else program
    request.check()
    return request


class AsyncSandbox:
    """Runs programs, here or on a server.

    `url` is None for an engine in this process, an http, https or unix:///path/to.sock address of a server, several
    of them for replicas, or docker:// for a container of its own.
    It starts at `async with` or with the first verb.

    `patience_seconds` is how long a server that is full or cannot be reached is asked again before `Overloaded` or
    `SandboxUnavailable` is raised; a retried program or cell is run once. The other options are those of an embedded
    engine.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        token: str | None = None,
        patience_seconds: float = 60.0,
        **options: Unpack[LocalOptions],
    ) -> None:
        self._door = open_door(url, token, patience_seconds, options)
        self._starting: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start the engine, or prepare the connection, if that has not been done.

        Raises:
            SandboxUnavailable: this machine offers no isolation.
        """
        if self._closed:
            raise RuntimeError("this sandbox is closed")
        if self._starting is None:
            self._starting = asyncio.create_task(self._door.start())
        await asyncio.shield(self._starting)

    async def close(self) -> None:
        """End all runs and sessions of this sandbox. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._starting is not None:
            await asyncio.wait([self._starting])
            await self._door.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        await self.close()

    async def run(self, code: str, **options: Unpack[RunOptions]) -> ExecResult:
        """What `code` does in a fresh process. Cancelling the call kills the program.

        Raises:
            BadRequest: it cannot be run as asked.
            Overloaded: no slot became free within `queue_seconds`, or the queue stayed full.
            SandboxUnavailable: no sandbox can serve this.
        """
        request = as_request(ExecRequest(code=code, **options))
        await self.start()
        return await self._door.run(request)

    async def run_in_bulk(self, request: ExecRequest) -> ExecResult:
        """As `run`, for callers with thousands at once: it waits its turn, and shares HTTP requests with others."""
        await self.start()
        return await self._door.run_in_bulk(request)

    async def run_many(self, requests: Programs) -> AsyncIterator[ExecResult]:
        """The results of `requests`, in their order, as they become known.

        It reads at most `AHEAD` requests beyond the last result it gave, so `requests` may be endless. An iterable is
        read on the event loop: give an async iterable where reading blocks. The first `SandboxError` that outlives the
        retries is raised in its place and ends the iteration; what is then unfinished is killed.
        """
        await self.start()
        # None marks the end; an exception of the source is raised where it occurred.
        results: asyncio.Queue[asyncio.Task[ExecResult] | Exception | None] = asyncio.Queue(AHEAD)
        tasks: set[asyncio.Task[ExecResult]] = set()

        async def feed() -> None:
            try:
                async for program in _each(requests):
                    task = asyncio.create_task(self._door.run_in_bulk(as_request(program)))
                    tasks.add(task)
                    await results.put(task)
            except Exception as error:  # noqa: BLE001 - handed on, to be raised where the caller reads
                await results.put(error)
            else:
                await results.put(None)

        feeder = asyncio.create_task(feed())
        try:
            while (item := await results.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                result = await item
                tasks.discard(item)
                yield result
        finally:
            for unfinished in (feeder, *tasks):
                unfinished.cancel()
            await asyncio.gather(feeder, *tasks, return_exceptions=True)

    def session(self, *, ttl_seconds: float | None = None, limits: Limits = DEFAULT_LIMITS) -> AsyncSession:
        """A session: cells that share their state, one process alive between them.

        It opens at `async with` or with its first verb. `ttl_seconds` is how long it may lie idle (None: the engine's
        own time); `limits` hold for each cell that brings none.
        """
        limits.check()
        return AsyncSession(self, None, ttl_seconds, limits)


class AsyncSession:
    """A running Python with its variables and files. Made by `AsyncSandbox.session` and `fork`."""

    def __init__(self, sandbox: AsyncSandbox, session_id: str | None, ttl: float | None, limits: Limits) -> None:
        self._sandbox = sandbox
        self._id = session_id
        self._ttl_seconds = ttl
        self._limits = limits
        self._opening = asyncio.Lock()
        self._closed = False

    async def open(self) -> str:
        """The session's id; the session is opened if it is not yet.

        Raises:
            SessionLost: it was closed.
            Overloaded: there are as many sessions as the engine allows, and none is idle.
        """
        if self._closed:
            raise SessionLost("this session was closed")
        async with self._opening:
            if self._id is None:
                await self._sandbox.start()
                self._id = await self._sandbox._door.open_session(ttl_seconds=self._ttl_seconds, limits=self._limits)
            return self._id

    async def run(self, code: str, **options: Unpack[RunOptions]) -> ExecResult:
        """What `code` does as the next cell.

        Raises:
            SessionLost: the state is gone: closed, idle too long, evicted, or ended by an earlier cell's limit.
            SessionBusy: another cell of this session is running.
        """
        options.setdefault("limits", self._limits)
        request = as_request(ExecRequest(code=code, **options))
        return await self._sandbox._door.run_in_session(await self.open(), request)

    async def fork(self) -> AsyncSession:
        """A second session with this one's state, memory and files; neither sees what the other does later.

        Raises:
            SessionBusy: a cell is running, or the session's own threads make a fork unsafe.
            SessionLost: there is no state to fork.
        """
        child = await self._sandbox._door.fork_session(await self.open())
        return AsyncSession(self._sandbox, child, self._ttl_seconds, self._limits)

    async def close(self) -> None:
        """End the session and drop its state. Closing twice, or one that is lost already, does nothing.

        A server that cannot be reached is not waited for: the session's `ttl_seconds` end it there.
        """
        self._closed = True
        async with self._opening:
            session_id, self._id = self._id, None
        if session_id is not None and not self._sandbox._closed:
            with contextlib.suppress(SessionLost, SandboxUnavailable):
                await self._sandbox._door.close_session(session_id)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _each(requests: Programs) -> AsyncIterator[ExecRequest | str]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
        return
    for count, request in enumerate(requests, 1):
        yield request
        if count % _AT_A_TIME == 0:
            await asyncio.sleep(0)  # let the runs begin: a long list would otherwise be read to the end first
