"""The connections of the server, each bounded in bytes and in seconds before anybody has shown a token.

uvicorn's protocol on httptools has no bounds of its own: a head may be endless, a body may trickle, an answer may never
be read. Here each of these has one. What a request itself may ask for is bounded later (`guard`, `schemas`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sandbox.types import KIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one connection, and all together, may take. Each default is far above what a client of ours needs."""

    head_bytes: int = 64 * KIB  # request line and headers, query string included
    headers: int = 128
    head_seconds: float = 10.0  # from the first byte, and for a new connection from its start
    pipelined: int = 8  # requests that wait on one connection for the answer before theirs
    body_seconds: float = 30.0  # without a byte of a body that is awaited
    whole_body_seconds: float = 300.0  # for all of it
    refused_body_seconds: float = 5.0  # the rest of a body whose request was answered without it
    answer_seconds: float = 120.0  # without a byte of an answer being read
    idle_seconds: int = 75  # between two requests of a client that has shown the token
    strange_idle_seconds: int = 5  # the same, of one that has not
    strangers: int = 256  # connections that have not shown the token
    connections: int = 4096
    unread_bytes: int = 256 * MIB  # of answers that lie here unread; more programs start when there are fewer
    requests_bytes: int = 256 * MIB  # bodies of requests that are being received or worked on


@dataclass(slots=True)
class Connections:
    """All connections of this process: who is a stranger yet, whose answers lie unread."""

    bounds: Bounds
    strangers: dict[Connection, None] = field(default_factory=dict)  # in order of arrival
    known: set[Connection] = field(default_factory=set)
    slow: set[Connection] = field(default_factory=set)  # their answers are not read as fast as they are made
    queued_bytes: int = 0  # of batches' answers, before they are handed to their connection
    requests_bytes: int = 0

    def unread_bytes(self) -> int:
        return self.queued_bytes + sum(connection.transport.get_write_buffer_size() for connection in self.slow)

    def enter(self, connection: Connection) -> bool:
        """Take in a new connection, in the place of the oldest stranger if there is no other; False: there is none."""
        full = len(self.strangers) + len(self.known) >= self.bounds.connections
        if full or len(self.strangers) >= self.bounds.strangers:
            if not self.strangers:
                return False
            oldest = next(iter(self.strangers))
            del self.strangers[oldest]
            oldest.transport.abort()
        self.strangers[connection] = None
        return True

    def leave(self, connection: Connection) -> None:
        self.strangers.pop(connection, None)
        self.known.discard(connection)
        self.slow.discard(connection)


class Connection(HttpToolsProtocol):
    """One connection. `Guard` calls `welcome` when a request on it has shown the token."""

    def __init__(self, *arguments: Any, connections: Connections, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._all = connections
        self._bounds = connections.bounds
        self.timeout_keep_alive = self._bounds.strange_idle_seconds
        self._in_head = True
        self._in_message = False  # from the first byte of a request to the last of its body
        self._head_bytes = self._read = 0
        self._body_until = 0.0
        self._refusal: tuple[int, str] | None = None
        self._clock: asyncio.TimerHandle | None = None  # of what is awaited from the client: a head, or a body
        self._answer_clock: asyncio.TimerHandle | None = None
        self._unsent = 0

    def welcome(self) -> None:
        """A request on this connection has shown the token."""
        if self in self._all.strangers:
            del self._all.strangers[self]
            self._all.known.add(self)
            self.timeout_keep_alive = self._bounds.idle_seconds

    # -- what uvicorn and the event loop call ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._all.enter(self):
            self._refuse(503, "this server has as many connections as it takes; try again later")
            return
        self._expect(self._bounds.head_seconds, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._expect(None)
        self.resume_writing()
        self._all.leave(self)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if not self._in_message:
            self._in_message = True
            self._expect(self._bounds.head_seconds, self._head_late)
        elif not self._in_head and not self.cycle.response_complete:
            self._expect_body()
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # no protocol but HTTP is offered: the request is answered as if nothing else had been asked for
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "this is not a request of HTTP/1.1")))
            return
        # What the parser keeps of an unfinished header cannot be seen from here: all that came counts.
        if self._in_head and self._head_bytes > self._bounds.head_bytes:
            self._refuse(431, self._too_long)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["connection"] = self
        self._in_head = self._in_message = True
        self._read = 0
        self._expect(self._bounds.head_seconds, self._head_late)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._stop(400, "headers after the body are not taken")
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= self._bounds.headers:
            self._stop(431, f"more than {self._bounds.headers} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if len(self.pipeline) >= self._bounds.pipelined:
            self._stop(429, f"more than {self._bounds.pipelined} requests wait on this connection")
        super().on_headers_complete()
        self._body_until = self.loop.time() + self._bounds.whole_body_seconds
        self._expect_body()

    def on_message_complete(self) -> None:
        self._in_message = False
        self._in_head = True
        self._expect(None)
        super().on_message_complete()
        if self.cycle.response_complete and not self.pipeline and self.timeout_keep_alive_task is None:
            # It was answered before its body ended: the wait for the next request begins now.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_message and self.cycle.response_complete and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            if not self._in_head:
                self._expect(self._bounds.refused_body_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._all.slow.add(self)
        self._unsent = self.transport.get_write_buffer_size()
        self._answer_clock = self.loop.call_later(self._bounds.answer_seconds, self._look_at_answer)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._all.slow.discard(self)
        if self._answer_clock is not None:
            self._answer_clock.cancel()
            self._answer_clock = None

    # -- bounds ------------------------------------------------------------------------------------------------------

    @property
    def _too_long(self) -> str:
        return f"the request line and headers are longer than {self._bounds.head_bytes} bytes"

    def _count(self, size: int) -> None:
        self._read += size
        if self._read > self._bounds.head_bytes:
            self._stop(431, self._too_long)

    def _stop(self, status: int, message: str) -> None:
        """Leave the parser, from within one of its calls."""
        self._refusal = (status, message)
        raise ValueError(message)

    def _expect(self, seconds: float | None, late: Callable[[], None] | None = None) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if seconds is not None and late is not None:
            self._clock = self.loop.call_later(seconds, late)

    def _expect_body(self) -> None:
        left = self._body_until - self.loop.time()
        self._expect(max(0.0, min(self._bounds.body_seconds, left)), self._body_late)

    def _head_late(self) -> None:
        if self.flow.read_paused:  # it is our turn, not the client's
            self._expect(self._bounds.head_seconds, self._head_late)
        else:
            self._refuse(408, f"no whole head within {self._bounds.head_seconds:g} seconds")

    def _body_late(self) -> None:
        if self.flow.read_paused:
            self._body_until += self._bounds.body_seconds
            self._expect_body()
        else:
            self._refuse(408, "the body comes too slowly")

    def _look_at_answer(self) -> None:
        """Drop a client that has read nothing since the last look."""
        left = self.transport.get_write_buffer_size()
        if left >= self._unsent:
            self.transport.abort()
            return
        self._unsent = left
        self._answer_clock = self.loop.call_later(self._bounds.answer_seconds, self._look_at_answer)

    def _refuse(self, status: int, message: str) -> None:
        """Answer if no other answer is on its way, and close."""
        self._refusal = (status, message)
        self._expect(None)
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not answering and not self.pipeline:
            kind = "Overloaded" if status in (429, 503) else "BadRequest"
            body = json.dumps({"error": {"type": kind, "message": message}}).encode()
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
