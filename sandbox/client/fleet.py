"""Which servers there are, which of them live, and how busy each is: what `sandbox.client.replicas` chooses from.

Only a server's own `/readyz` decides whether it lives; a program that takes long says nothing about its server.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sandbox.client.remote import Refused, Remote
from sandbox.errors import InputError, SandboxUnavailable

_PROBE_EVERY_SECONDS = 1.0
# Twice in a row without an answer within so long, which only a machine at its end takes: the server is lost.
# A refused connection counts at once.
_PROBE_SECONDS = 5.0
_LOST_AFTER = 2
_RESOLVE_EVERY_SECONDS = 5.0


@dataclass(eq=False)
class Replica:
    """One server: `up` is whether it is given work, `gone` is done when its work has to be given up."""

    url: str
    remote: Remote
    up: bool = False
    slots: int = 1
    outstanding: int = 0
    sessions: int = 0
    misses: int = 0
    resting_until: float = 0.0
    error: str = "not asked yet"
    gone: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    probing: asyncio.Task[None] | None = None


class Fleet:
    """The servers at `urls`; those behind "dns://name:port" are looked up again every few seconds.

    `after_probe` is called after each round of questions, with the seconds for which no server has been up.

    Raises:
        InputError: no address was given, one twice, or one that is none.
    """

    def __init__(self, urls: Sequence[str], token: str | None, after_probe: Callable[[float], None]) -> None:
        if not urls:
            raise InputError("an empty list of servers was given; expected one address or more")
        if len(set(urls)) < len(urls):
            raise InputError(f"an address occurs twice in {', '.join(urls)}; each server is to be named once")
        self._names = [url for url in urls if url.startswith("dns://")]
        for name in self._names:
            if urlsplit(name).port is None:
                raise InputError(f"{name!r} names no port; expected one like dns://sandbox-pods:8000")
        self._fixed = [url for url in urls if url not in self._names]
        for url in self._fixed:
            Remote(url)  # a wrong address is to be told here, not at the first program
        self._token, self._after_probe = token, after_probe
        self._replicas: dict[str, Replica] = {}
        self._prober: asyncio.Task[None] | None = None
        self._none_up_since: float | None = None

    async def start(self, patience_seconds: float) -> None:
        """Ask every server once. Those that do not answer are asked again while the others work.

        Raises:
            SandboxUnavailable: none has answered within `patience_seconds`.
        """
        for url in self._fixed:
            await self._add(url)
        deadline = time.monotonic() + patience_seconds
        while True:
            await self._resolve()
            await asyncio.gather(*map(self.probe, self._replicas.values()))
            if any(replica.up for replica in self._replicas.values()):
                break
            if time.monotonic() >= deadline:
                raise self.none_answers()
            await asyncio.sleep(min(_PROBE_EVERY_SECONDS, max(deadline - time.monotonic(), 0)))
        self._prober = asyncio.create_task(self._keep_probing())

    async def close(self) -> None:
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.gather(self._prober, return_exceptions=True)
        for replica in list(self._replicas.values()):
            await self._drop(replica)

    def get(self, url: str) -> Replica | None:
        return self._replicas.get(url)

    def least(self, load: Callable[[Replica], float], *, room: int | None = None) -> Replica | None:
        """The live server with the least load a slot; with `room`, of those that have less than that to do."""
        able = [each for each in self._replicas.values() if each.up]
        if room is not None:
            now = time.monotonic()
            able = [each for each in able if each.outstanding < room and each.resting_until <= now]
        return min(able, key=lambda each: (load(each) / each.slots, secrets.randbits(16)), default=None)

    def none_answers(self) -> SandboxUnavailable:
        described = "; ".join(f"{each.url}: {each.error}" for each in self._replicas.values())
        return SandboxUnavailable(f"none of the servers answers: {described or 'the name has no address'}")

    async def _add(self, url: str) -> Replica:
        replica = Replica(url, Remote(url, token=self._token, patience_seconds=0))
        await replica.remote.start()
        self._replicas[url] = replica
        return replica

    async def _drop(self, replica: Replica) -> None:
        replica.up = False
        if replica.probing is not None:
            replica.probing.cancel()
            await asyncio.wait((replica.probing,))
        if not replica.gone.done():
            replica.gone.set_result(None)
        del self._replicas[replica.url]
        await replica.remote.close()

    async def _resolve(self) -> None:
        """Add the addresses that a name has won; drop those it has lost once they do not answer either."""
        loop = asyncio.get_running_loop()
        present: set[str] = set(self._fixed)
        for name in self._names:
            parts = urlsplit(name)
            try:
                found = await loop.getaddrinfo(str(parts.hostname), parts.port, type=socket.SOCK_STREAM)
            except socket.gaierror:
                continue  # a name without pods for the moment; what is known stays
            present |= {_address(str(address[0]), int(address[1])) for *_, address in found}
        for url in present - set(self._replicas):
            await self._add(url)
        for replica in [each for url, each in self._replicas.items() if url not in present and not each.up]:
            await self._drop(replica)

    async def _keep_probing(self) -> None:
        resolved = time.monotonic()
        while True:
            await asyncio.sleep(_PROBE_EVERY_SECONDS)
            now = time.monotonic()
            if self._names and now - resolved > _RESOLVE_EVERY_SECONDS:
                await self._resolve()
                resolved = now
            await asyncio.gather(*map(self.probe, list(self._replicas.values())))
            if any(replica.up for replica in self._replicas.values()):
                self._none_up_since = None
            else:
                self._none_up_since = self._none_up_since or now
            self._after_probe(now - self._none_up_since if self._none_up_since is not None else 0.0)

    async def probe(self, replica: Replica) -> None:
        """Ask a server how it is; those who want to know at one time share one question."""
        if replica.probing is None or replica.probing.done():
            replica.probing = asyncio.create_task(self._probe(replica))
        await asyncio.shield(replica.probing)

    async def _probe(self, replica: Replica) -> None:
        try:
            slots = await replica.remote.slots(_PROBE_SECONDS)
        except SandboxUnavailable as error:
            replica.misses += 1
            replica.error = str(error)
            if replica.misses >= _LOST_AFTER or isinstance(error, Refused):
                replica.up = False
                if not replica.gone.done():
                    replica.gone.set_result(None)
            return
        replica.misses = 0
        replica.up = slots is not None  # else it is draining; what it runs it will finish
        replica.error = "it takes no new programs" if slots is None else ""
        if slots is not None:
            replica.slots = max(slots, 1)
            if replica.gone.done():
                replica.gone = asyncio.get_running_loop().create_future()


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
