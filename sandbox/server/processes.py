"""Several front processes as one server: one port, one token, one `/metrics`; each has a share of the slots.

Each process is a whole server, HTTP and engine, and answers on the one port; the kernel spreads the connections. What
they must know of each other is in memory that all share: how much each has in hand, and which of them has run which
key. What one cannot answer itself it asks of another over a unix socket of that one's:

    a program or a batch's program   where there is room, or where its key was seen before
    a session                        stays where it was opened, and its name says where ("2.x7…"); one that the client
                                     has named (`compat.nemo_skills`) lives where the checksum of its name says
    /metrics, /readyz                the sum over all

A process that dies is started again; its sessions are lost, and said to be. It refuses to move a session.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import aiohttp
import yarl
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.client.embedded import Embedded
from sandbox.client.remote import Remote
from sandbox.errors import SandboxUnavailable
from sandbox.types import ExecRequest, ExecResult

if TYPE_CHECKING:
    from sandbox.engine import Engine

_SIBLING = b"x-sandbox-sibling"  # the header that says: answer this yourself
_SESSION = b"x-session-id"  # the header in which a client names its session
_PATIENCE_SECONDS = 5.0  # with another process that does not answer; it is started again meanwhile
_KEYS = 1 << 16  # places for keys; each front keeps 8192 outcomes
_COUNT, _KEY = struct.Struct("=I"), struct.Struct("=IB")

_here: ContextVar[bool] = ContextVar("_here", default=False)  # whether another process has sent this to us


def sent_here() -> bool:
    """Whether what is worked on came from another process of this server."""
    return _here.get()


class Shared:
    """What the processes know of each other: anonymous memory, made before they are forked.

    Each writes its own count; the places of keys are anybody's. A place holds the last key that came to it: who finds
    another's there runs the program again, which a program without a session cannot tell.
    """

    def __init__(self, processes: int) -> None:
        self._keys_at = processes * _COUNT.size
        self._memory = mmap.mmap(-1, self._keys_at + _KEYS * _KEY.size)

    def in_hand(self, process: int) -> int:
        """Programs that a process runs or lets wait."""
        count: int = _COUNT.unpack_from(self._memory, process * _COUNT.size)[0]
        return count

    def set_in_hand(self, process: int, count: int) -> None:
        _COUNT.pack_into(self._memory, process * _COUNT.size, count)

    def owner(self, key: str, process: int) -> int:
        """The process that was given `key` last; it is `process` from now on if that is none."""
        number = zlib.crc32(key.encode("utf-8", "surrogatepass")) or 1
        place = self._keys_at + zlib.adler32(key.encode("utf-8", "surrogatepass")) % _KEYS * _KEY.size
        found, owner = _KEY.unpack_from(self._memory, place)
        if found == number:
            return int(owner)
        _KEY.pack_into(self._memory, place, number, process)
        return process


@dataclass(frozen=True)
class Place:
    """One process among all, number `index`. `workers` are the slots of each; by `secret` they know each other."""

    index: int
    workers: tuple[int, ...]
    shared: Shared
    sockets: tuple[str, ...]  # paths
    secret: str
    token: str | None = None

    @property
    def prefix(self) -> str:
        """What the names of this process's sessions begin with."""
        return f"{self.index}."


@dataclass
class Siblings:
    """The other processes, as this one asks them."""

    place: Place
    _remotes: dict[int, Remote] = field(default_factory=dict)
    _http: dict[int, aiohttp.ClientSession] = field(default_factory=dict)

    @property
    def others(self) -> list[int]:
        return [index for index in range(len(self.place.workers)) if index != self.place.index]

    async def remote(self, index: int) -> Remote:
        if index not in self._remotes:
            remote = self._remotes[index] = Remote(
                f"unix://{self.place.sockets[index]}",
                token=self.place.token,
                patience_seconds=_PATIENCE_SECONDS,
                headers={_SIBLING.decode(): self.place.secret},
            )
            await remote.start()
        return self._remotes[index]

    async def ask(
        self, index: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})
    ) -> Response:
        """The answer of another process to a request that is handed on as it came."""
        if index not in self._http:
            always = {"content-type": "application/json", _SIBLING.decode(): self.place.secret}
            if self.place.token is not None:
                always["authorization"] = f"Bearer {self.place.token}"
            connector = aiohttp.UnixConnector(self.place.sockets[index], limit=0)
            timeout = aiohttp.ClientTimeout(total=None)
            self._http[index] = aiohttp.ClientSession(connector=connector, headers=always, timeout=timeout)
        try:
            url = yarl.URL.build(scheme="http", host="localhost", path=path)  # quotes what was unquoted on its way here
            async with self._http[index].request(method, url, data=body or None, headers=headers) as answer:
                kept = {
                    name: answer.headers[name] for name in ("content-type", "retry-after") if name in answer.headers
                }
                return Response(await answer.read(), status_code=answer.status, headers=kept)
        except (aiohttp.ClientError, OSError) as error:
            raise SandboxUnavailable(
                f"process {index} of this server does not answer: {type(error).__name__}"
            ) from None

    async def close(self) -> None:
        for remote in self._remotes.values():
            await remote.close()
        for http in self._http.values():
            await http.close()


class Spread(Embedded):
    """The verbs of this process's engine; programs it has no room for go to a process that has."""

    def __init__(self, engine: Engine, place: Place) -> None:
        super().__init__(engine)
        self.siblings = Siblings(place)
        self._place = place
        self._in_hand = 0
        self._sent = [0] * len(place.workers)

    async def start(self) -> None:
        await super().start()
        self._place.shared.set_in_hand(self._place.index, 0)
        self.at_a_time = 2 * sum(self._place.workers)

    async def close(self) -> None:
        await self.siblings.close()
        await super().close()

    async def run(self, request: ExecRequest) -> ExecResult:
        where = self._where(request.key)
        if where == self._place.index:
            return await self._counted(super().run(request))
        return await self._elsewhere(where, request, Remote.run, super().run)

    async def run_in_bulk(self, request: ExecRequest) -> ExecResult:
        where = self._where(request.key)
        if where == self._place.index:
            return await self._counted(super().run_in_bulk(request))
        return await self._elsewhere(where, request, Remote.run_in_bulk, super().run_in_bulk)

    def _where(self, key: str | None) -> int:
        """The process to run a program: one with a free slot, else with the fewest that wait; of equals this one."""
        place = self._place
        here = place.index
        if not _here.get():
            here = min((here, *self.siblings.others), key=self._crowding)
        return place.shared.owner(key, here) if key is not None and not _here.get() else here

    def _crowding(self, index: int) -> int:
        """How many programs each slot of a process has in hand, rounded down: 0 while one is free."""
        known = self._in_hand if index == self._place.index else self._place.shared.in_hand(index)
        return max(known, self._sent[index]) // self._place.workers[index]

    async def _counted(self, work: Awaitable[ExecResult]) -> ExecResult:
        self._in_hand += 1
        self._place.shared.set_in_hand(self._place.index, self._in_hand)
        try:
            return await work
        finally:
            self._in_hand -= 1
            self._place.shared.set_in_hand(self._place.index, self._in_hand)

    async def _elsewhere(
        self,
        index: int,
        request: ExecRequest,
        ask: Callable[[Remote, ExecRequest], Awaitable[ExecResult]],
        here: Callable[[ExecRequest], Awaitable[ExecResult]],
    ) -> ExecResult:
        self._sent[index] += 1
        try:
            return await ask(await self.siblings.remote(index), request)
        except SandboxUnavailable:  # it has died: what it ran is gone
            return await self._counted(here(request))
        finally:
            self._sent[index] -= 1


class Router:
    """Hands requests over sessions to the process that has them, and sums up what is asked of the whole server."""

    def __init__(self, app: ASGIApp, siblings: Siblings) -> None:
        self._app, self._siblings, self._place = app, siblings, siblings.place
        self._opened = siblings.place.index  # the process that opened a session last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if dict(scope["headers"]).get(_SIBLING) == self._place.secret.encode():
            _here.set(True)
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path in ("/metrics", "/readyz"):
            await self._sum(scope, receive, send)
        elif path == "/v1/sessions" or path.startswith("/v1/sessions/"):
            await self._hand_on(path, scope, receive, send)
        elif (name := _session_named(scope)) is not None:
            await self._hand_to(zlib.crc32(name) % len(self._place.workers), scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _hand_on(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        opening = path == "/v1/sessions"
        where = self._place.index
        if opening:
            body = await _whole(receive)
            # The same for a retry, which has the same key.
            where = zlib.crc32(body) % len(self._place.workers) if b'"key"' in body else self._next()
        else:
            name = path.split("/")[3].partition(".")[0]
            where = int(name) if name.isdecimal() and int(name) < len(self._place.workers) else where
        await self._hand_to(where, scope, _again(body, receive) if opening else receive, send)

    async def _hand_to(self, where: int, scope: Scope, receive: Receive, send: Send) -> None:
        if where == self._place.index:
            await self._app(scope, receive, send)
            return
        asking = asyncio.ensure_future(self._ask(where, scope, await _whole(receive)))
        gone = asyncio.ensure_future(receive())  # the body has been read: only a disconnect can come
        try:
            await asyncio.wait((asking, gone), return_when=asyncio.FIRST_COMPLETED)
            # Nobody reads the second; without an answer the server would take it for a mistake.
            answer = asking.result() if asking.done() else Response(status_code=499)
            await answer(scope, receive, send)
        finally:
            asking.cancel()
            gone.cancel()
            await asyncio.gather(asking, gone, return_exceptions=True)

    async def _ask(self, where: int, scope: Scope, body: bytes) -> Response:
        try:
            name = dict(scope["headers"]).get(_SESSION)
            headers = {_SESSION.decode(): name.decode("latin-1")} if name is not None else {}
            return await self._siblings.ask(where, scope["method"], scope["path"], body, headers)
        except SandboxUnavailable as error:
            described = {"error": {"type": type(error).__name__, "message": str(error)}}
            return Response(json.dumps(described), status_code=error.http_status, media_type="application/json")

    def _next(self) -> int:
        """In turn."""
        self._opened = (self._opened + 1) % len(self._place.workers)
        return self._opened

    async def _sum(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        own: list[Message] = []

        async def keep(message: Message) -> None:
            own.append(message)

        others = [self._siblings.ask(index, "GET", path) for index in self._siblings.others]
        answers, _ = await asyncio.gather(
            asyncio.gather(*others, return_exceptions=True), self._app(scope, receive, keep)
        )
        bodies = [b"".join(message.get("body", b"") for message in own)]
        bodies += [bytes(answer.body) for answer in answers if isinstance(answer, Response)]
        if path == "/metrics":
            start = next(message for message in own if message["type"] == "http.response.start")
            kind = dict(start["headers"]).get(b"content-type", b"text/plain").decode()
            await Response(sum_metrics([body.decode() for body in bodies]), media_type=kind)(scope, receive, send)
            return
        ready = sum_ready([json.loads(body) for body in bodies])
        ready["ready"] = ready["ready"] and len(bodies) == len(self._place.workers)
        status = 200 if ready["ready"] else 503
        await Response(json.dumps(ready), status_code=status, media_type="application/json")(scope, receive, send)


def _session_named(scope: Scope) -> bytes | None:
    """The session that a request is for by a name of the client's own, as `compat.nemo_skills` takes it."""
    path: str = scope["path"]
    if path.startswith("/sessions/"):
        return path.removeprefix("/sessions/").encode("utf-8", "surrogatepass")
    return dict(scope["headers"]).get(_SESSION) if path == "/execute" else None


def sum_metrics(texts: list[str]) -> str:
    """One exposition made of several with the same metrics: each sample the sum, a time of creation the earliest."""
    samples: dict[str, float] = {}
    lines: dict[str, None] = {}  # comments and samples in the order of their metric, as they first came
    for text in texts:
        after = ""
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if line.startswith("#"):
                after = line
                lines.setdefault(line)
            elif name not in samples:
                samples[name] = float(value)
                _insert(lines, after, name)
            elif name.partition("{")[0].endswith("_created"):
                samples[name] = min(samples[name], float(value))
            else:
                samples[name] += float(value)
            after = name if not line.startswith("#") else after
    return "".join(f"{line} {samples[line]}\n" if line in samples else f"{line}\n" for line in lines)


def _insert(lines: dict[str, None], after: str, name: str) -> None:
    """Put `name` behind `after`: the samples of a metric stay together."""
    behind = list(lines)
    at = behind.index(after) + 1 if after in lines else len(behind)
    for line in behind[at:]:
        del lines[line]
    for line in (name, *behind[at:]):
        lines[line] = None


def sum_ready(answers: list[dict[str, object]]) -> dict[str, object]:
    """One answer about readiness made of several."""
    whole = dict(answers[0])
    for name in ("slots", "busy", "queue_length", "sessions"):
        whole[name] = sum(int(str(answer[name])) for answer in answers)
    whole["ready"] = all(answer["ready"] for answer in answers)
    return whole


async def _whole(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` first."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
