"""What every request must pass before a route sees it: the token, the host it came for, and the size of its body.

Plain ASGI, so that a refusal costs nothing and reads nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.errors import BadRequest, Overloaded, SandboxError, Unauthorized
from sandbox.server.connections import Connections
from sandbox.server.schemas import error_json

# What a health probe needs, which has no token; the last two by the names that other sandboxes' clients ask for.
_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/v1/ping", "/health"})
# Without a token the server is on loopback. A web page could still reach it through a name of its own that resolves to
# 127.0.0.1; such a request names that host.
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Clients of these ask again after 504 alone.
_STATUS_IF_FULL = {"/run_code": 504, "/run_jupyter": 504}


class Guard:
    """Lets through requests with `token` (None: for a loopback name) whose body is at most `max_body_bytes` long.

    While more than their bounds lie here of bodies, or of answers that nobody reads, it says that the server is full.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, max_body_bytes: int, connections: Connections) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._max_body_bytes = max_body_bytes
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # nothing else is offered
        headers = dict(scope["headers"])
        reason = self._reason_against(headers)
        if reason is None:
            if connection := scope.get("state", {}).get("connection"):
                connection.welcome()
        elif scope["path"] not in _OPEN_PATHS:
            await _refuse(send, 401, Unauthorized(reason))
            return
        if scope["path"] in _OPEN_PATHS:
            await self._app(scope, _nothing, send)  # what they ask needs no body
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            await _refuse(send, 413, BadRequest(self._too_large))
            return
        if self._connections.unread_bytes() > self._connections.bounds.unread_bytes:
            status = _STATUS_IF_FULL.get(scope["path"], 429)
            full = Overloaded("answers wait here for clients that do not read them; try again later")
            await _refuse(send, status, full)
            return
        body = _Body(receive, self._connections, self._max_body_bytes, self._too_large)
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._connections.requests_bytes -= body.bytes

    def _reason_against(self, headers: Mapping[bytes, bytes]) -> str | None:
        if self._token is not None:
            # Compared in constant time: the time taken must not tell how much of a guess is right.
            if hmac.compare_digest(_shown_token(headers.get(b"authorization", b"")), self._token):
                return None
            return "a token is required: send the header 'Authorization: Bearer TOKEN'"
        if _host_name(headers.get(b"host", b"")) in _LOOPBACK_NAMES:
            return None
        return "without a token this server answers requests for localhost and 127.0.0.1 only"

    @property
    def _too_large(self) -> str:
        return f"the body is larger than {self._max_body_bytes} bytes; send fewer programs at a time"


class _Body:
    """A request's body, counted: its length may not have been announced."""

    def __init__(self, receive: Receive, connections: Connections, most: int, too_large: str) -> None:
        self._receive, self._connections = receive, connections
        self._most, self._too_large = most, too_large
        self.bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        self.bytes += size
        self._connections.requests_bytes += size
        if self.bytes > self._most:
            raise HTTPException(413, self._too_large)
        if self._connections.requests_bytes > max(self._connections.bounds.requests_bytes, self._most):
            raise HTTPException(429, "the requests that are worked on take all memory there is for them")
        return message


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _shown_token(header: bytes) -> bytes:
    """The token of an Authorization header: Bearer, or a Basic password, which any client sends for http://x:TOKEN@host."""
    kind, _, shown = header.partition(b" ")
    if kind == b"Basic":
        try:
            return base64.b64decode(shown, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return shown if kind == b"Bearer" else b""


def _host_name(header: bytes) -> str:
    name = header.decode("latin-1").lower()
    return name if name.endswith("]") else name.rsplit(":", 1)[0]


async def _refuse(send: Send, status: int, error: SandboxError) -> None:
    body = json.dumps({"error": error_json(error)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 429:
        headers.append((b"retry-after", b"1"))
    if status == 413:
        headers.append((b"connection", b"close"))  # what is left of the body is not worth reading
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
