"""A server's verbs over HTTP, with connections reused: what `Sandbox("http://…")` stands on.

Every program, cell, opening and fork carries a key made here, and the server runs a key once. So whatever happened to a
connection, asking again is safe: lost connections, 429 and 503 are retried until `patience_seconds` have passed, then
raised as `SandboxUnavailable` or `Overloaded`. Nothing that goes wrong here ever becomes an `ExecResult`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from sandbox.coding import files_to_json, result_from_json
from sandbox.errors import BY_NAME, InputError, Overloaded, SandboxError, SandboxUnavailable
from sandbox.types import MIB, ExecRequest, ExecResult, Limits

T = TypeVar("T")
# A program on its way in a batch: its JSON, and where its outcome is awaited.
_Item = tuple[bytes, asyncio.Future[ExecResult]]

# Answers of a proxy in front of a server that is away.
_AWAY = (502, 503, 504)

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
# Beyond what the request itself may take: the kill, the way there and back.
_MARGIN_SECONDS = 30.0

# Bulk: a new batch leaves when fewer than this many programs are out, so that one slow program of an earlier batch
# keeps no slot idle, and batches stay large enough (measured: below about 16 the HTTP request dominates).
_BULK_LOW = 64
_BATCH_PROGRAMS = 64
_BATCH_BYTES = 4 * MIB


class Refused(SandboxUnavailable):
    """The connection itself was refused: no server is there."""


# What a connection can fail with, and what an answer that is no JSON raises.
_FAILURES = (aiohttp.ClientError, TimeoutError, ValueError)


class Remote:
    """The engine's verbs, answered by the server at `url`.

    Raises:
        InputError: `url` is not an http, https or unix address.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        patience_seconds: float = 60.0,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        parts = urlsplit(url)
        self._socket_path = parts.path if parts.scheme == "unix" and not parts.netloc else None
        if not self._socket_path and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise InputError(
                f"{url!r} is not the address of a sandbox server; expected one like http://127.0.0.1:8000 or "
                "unix:///run/sandbox.sock"
            )
        self._url = url.rstrip("/")
        self._patience_seconds = patience_seconds
        self._headers = {"content-type": "application/json", **headers}
        if token is not None:
            if not (token.isascii() and token.isprintable()) or token != token.strip() or not token:
                raise InputError("the token is empty or has characters that a header cannot carry; use printable ASCII")
            self._headers["authorization"] = f"Bearer {token}"
        self._loopback = self._socket_path is not None or _is_loopback(parts.hostname or "")
        self._http: aiohttp.ClientSession | None = None
        self._bulk: deque[_Item] = deque()
        self._bulk_out = 0
        self._batches: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        # The caller bounds what is asked at once; a limit here would only hide a queue from the server.
        connector: aiohttp.BaseConnector = (
            aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0)
            if self._socket_path is None
            else aiohttp.UnixConnector(self._socket_path, limit=0, keepalive_timeout=30.0)
        )
        self._http = aiohttp.ClientSession(
            headers=self._headers,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=not self._loopback,  # a proxy of the environment cannot reach this machine's loopback
        )

    async def close(self) -> None:
        for batch in self._batches:
            batch.cancel()
        await asyncio.gather(*self._batches, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    async def run(self, request: ExecRequest) -> ExecResult:
        return result_from_json(await self._ask("POST", "/v1/execute", _encode(request), _seconds(request)))

    async def open_session(self, *, ttl_seconds: float | None, limits: Limits) -> str:
        body = {"ttl_seconds": ttl_seconds, "limits": limits.to_json(), "key": _new_key()}
        answer = await self._ask("POST", "/v1/sessions", json.dumps(body).encode(), _MARGIN_SECONDS)
        return str(answer["session_id"])

    async def run_in_session(self, session_id: str, request: ExecRequest) -> ExecResult:
        path = f"/v1/sessions/{session_id}/execute"
        return result_from_json(await self._ask("POST", path, _encode(request), _seconds(request)))

    async def fork_session(self, session_id: str) -> str:
        body = json.dumps({"key": _new_key()}).encode()
        answer = await self._ask("POST", f"/v1/sessions/{session_id}/fork", body, _MARGIN_SECONDS)
        return str(answer["session_id"])

    async def close_session(self, session_id: str) -> None:
        # Once: where the server is away, its own clock ends the session.
        await self._ask_once("DELETE", f"/v1/sessions/{session_id}", None, _MARGIN_SECONDS)

    async def run_in_bulk(self, request: ExecRequest) -> ExecResult:
        """As `run`; what many tasks ask here at one time travels in few HTTP requests."""
        request = replace(request, key=request.key or _new_key())
        body = _encode(request)

        async def once() -> ExecResult:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[ExecResult] = loop.create_future()
            if not self._bulk:
                loop.call_soon(self._send_batches)  # not at once: what others ask in this turn goes with it
            self._bulk.append((body, future))
            return await future

        return await self._patiently(once)

    def _send_batches(self) -> None:
        while self._bulk and self._bulk_out < _BULK_LOW:
            batch: list[_Item] = []
            size = 0
            while self._bulk and len(batch) < _BATCH_PROGRAMS and (not batch or size < _BATCH_BYTES):
                item = self._bulk.popleft()
                if not item[1].done():  # else its caller has gone
                    batch.append(item)
                    size += len(item[0])
            if batch:
                self._bulk_out += len(batch)
                task = asyncio.create_task(self._run_batch(batch))
                self._batches.add(task)
                task.add_done_callback(self._batches.discard)

    async def _run_batch(self, batch: list[_Item]) -> None:
        task = asyncio.current_task()
        unanswered = len(batch)

        def answered(_: asyncio.Future[ExecResult]) -> None:
            nonlocal unanswered
            unanswered -= 1
            self._bulk_out -= 1
            self._send_batches()
            if unanswered == 0 and task is not None and any(future.cancelled() for _, future in batch):
                task.cancel()  # nobody waits for the rest: close the connection, and the server kills it

        for _, future in batch:
            future.add_done_callback(answered)
        failure: SandboxError = SandboxUnavailable(f"{self._url} closed a batch before its end")
        try:
            await self._read_batch(batch)
        except SandboxError as error:
            failure = error
        except asyncio.CancelledError:
            failure = SandboxUnavailable("this sandbox was closed")
            raise
        finally:
            for _, future in batch:
                if not future.done():
                    future.set_exception(failure)

    async def _read_batch(self, batch: list[_Item]) -> None:
        """Give each request its outcome as its line arrives. Blank lines are the server's sign of life."""
        body = b'{"requests":[' + b",".join(item[0] for item in batch) + b"]}"
        try:
            async with self._request("POST", "/v1/execute/batch", body, _MARGIN_SECONDS) as response:
                if response.status != 200:
                    raise _error(self._url, response, await response.read())
                async for line in _lines(response.content):
                    if not line.strip():
                        continue
                    answer = json.loads(line)
                    future = batch[answer["index"]][1]
                    if future.done():
                        continue
                    if "error" in answer:
                        future.set_exception(_error_from(answer["error"], answer["error"].get("status", 500), None))
                    else:
                        future.set_result(result_from_json(answer["result"]))
        except _FAILURES as error:
            raise _unreachable(self._url, error) from error

    async def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        return await self._patiently(lambda: self._ask_once(method, path, body, seconds))

    async def _ask_once(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        try:
            async with self._request(method, path, body, seconds) as response:
                content = await response.read()
            if response.status == 204:
                return None
            if response.status in (200, 201):
                return json.loads(content)
        except _FAILURES as error:
            raise _unreachable(self._url, error) from error
        raise _error(self._url, response, content)

    def _request(
        self, method: str, path: str, body: bytes | None, seconds: float
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A response whose next bytes are waited for at most `seconds`. May raise any of `_FAILURES`."""
        assert self._http is not None, "start() comes first"
        base = self._url if self._socket_path is None else "http://localhost"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=seconds)
        return self._http.request(method, base + path, data=body, timeout=timeout, allow_redirects=False)

    async def slots(self, seconds: float) -> int | None:
        """How many programs the server runs at a time; None while it takes no new ones.

        Raises:
            Refused: nothing listens there.
            SandboxUnavailable: no answer within `seconds`, or one that no server of ours gives.
        """
        try:
            async with self._request("GET", "/readyz", None, seconds) as response:
                content = await response.read()
            return int(json.loads(content)["slots"]) if response.status == 200 else None
        except aiohttp.ClientConnectorError as error:
            raise Refused(f"{type(error).__name__} {error}") from error
        except (*_FAILURES, KeyError, TypeError) as error:
            raise SandboxUnavailable(f"{type(error).__name__} {error}") from error

    async def _patiently(self, once: Callable[[], Awaitable[T]]) -> T:
        """`once()`, repeated while it fails in a way that asking again may mend."""
        deadline = time.monotonic() + self._patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await once()
            except SandboxError as error:
                if not error.retryable or self._http is None or self._http.closed:
                    raise
                wait = pause * random.uniform(0.5, 1.5)  # so that clients refused together do not come back together
                if isinstance(error, Overloaded):
                    wait = max(wait, error.retry_after_seconds)
                if time.monotonic() + wait > deadline:
                    raise
            await asyncio.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Its lines, of any length (its own `readline` gives up at 128 KiB), without their ends."""
    rest = bytearray()
    async for chunk in content.iter_any():
        *lines, last = chunk.split(b"\n")
        for line in lines:
            yield bytes(rest) + line
            rest.clear()
        rest += last


def _encode(request: ExecRequest) -> bytes:
    body: dict[str, Any] = {
        "code": request.code,
        "mode": request.mode,
        "stdin": request.stdin,
        "limits": request.limits.to_json(),
        "seed": request.seed,
        "queue_seconds": request.queue_seconds,
        "key": request.key or _new_key(),
    }
    if request.files:
        body["files"] = files_to_json(request.files)
    if request.fetch:
        body["fetch"] = list(request.fetch)
    if request.fetch_figures:
        body["fetch_figures"] = True
    return json.dumps(body).encode()


def _seconds(request: ExecRequest) -> float:
    """How long an answer may take before the connection is given up."""
    return request.queue_seconds + request.limits.wall_seconds + _MARGIN_SECONDS


def _new_key() -> str:
    return secrets.token_hex(16)


def _error(url: str, response: aiohttp.ClientResponse, content: bytes) -> SandboxError:
    """The exception that an answer other than a success stands for."""
    try:
        described = json.loads(content)["error"]
        return _error_from(described, response.status, response.headers.get("retry-after"))
    except (ValueError, KeyError, TypeError):
        text = content[:200].decode(errors="replace")
        message = f"{url} answered {response.status}: {text!r}; is a sandbox server there?"
        return (SandboxUnavailable if response.status in _AWAY else SandboxError)(message)


def _error_from(described: Mapping[str, Any], status: int, retry_after: str | None) -> SandboxError:
    kind = BY_NAME.get(str(described["type"]), SandboxError)
    message = str(described["message"])
    if kind is Overloaded:
        seconds = retry_after if retry_after is not None else described.get("retry_after_seconds", 1.0)
        return Overloaded(message, float(seconds))
    return kind(message if kind is not SandboxError else f"{message} (HTTP {status})")


def _unreachable(url: str, error: Exception) -> SandboxUnavailable:
    return SandboxUnavailable(f"no answer from {url}: {type(error).__name__} {error}; is the server running?")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
