"""What every request must pass before a route sees it: the token, the host it came for, and the size of its body.

Plain ASGI, so that a refusal costs nothing and reads nothing.
"""

from __future__ import annotations

import hmac
import json

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What a health probe needs, which has no token.
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
# Without a token the server is on loopback. A web page could still reach it through a name of its own that resolves to
# 127.0.0.1; such a request names that host.
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """Lets through requests with `token` (None: for a loopback name) whose body is at most `max_body_bytes` long."""

    def __init__(self, app: ASGIApp, *, token: str | None, max_body_bytes: int) -> None:
        self._app = app
        self._authorization = None if token is None else f"Bearer {token}".encode()
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["path"] not in _OPEN_PATHS:
            if self._authorization is not None:
                given = headers.get(b"authorization", b"")
                # Compared in constant time: the time taken must not tell how much of a guess is right.
                if not hmac.compare_digest(given, self._authorization):
                    message = "a token is required: send the header 'Authorization: Bearer TOKEN'"
                    await _refuse(send, 401, "Unauthorized", message)
                    return
            elif _host_name(headers.get(b"host", b"")) not in _LOOPBACK_NAMES:
                message = "without a token this server answers requests for localhost and 127.0.0.1 only"
                await _refuse(send, 401, "Unauthorized", message)
                return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            await _refuse(send, 413, "BadRequest", self._too_large)
            return
        await self._app(scope, self._counted(receive), send)

    @property
    def _too_large(self) -> str:
        return f"the body is larger than {self._max_body_bytes} bytes; send fewer programs at a time"

    def _counted(self, receive: Receive) -> Receive:
        """`receive` for a body whose length was not announced."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body_bytes:
                raise HTTPException(413, self._too_large)
            return message

        return counted


def _host_name(header: bytes) -> str:
    name = header.decode("latin-1").lower()
    return name if name.endswith("]") else name.rsplit(":", 1)[0]


async def _refuse(send: Send, status: int, kind: str, message: str) -> None:
    body = json.dumps({"error": {"type": kind, "message": message}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:
        headers.append((b"connection", b"close"))  # what is left of the body is not worth reading
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
