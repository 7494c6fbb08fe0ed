"""A batch's programs and its lines of answer: no more are started than somebody reads."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

from sandbox.client.embedded import Embedded
from sandbox.errors import SandboxError
from sandbox.server.connections import Connections
from sandbox.server.metrics import Metrics
from sandbox.server.schemas import BatchBody, ExecuteBody, error_json, result_json
from sandbox.types import MIB, Limits

log = logging.getLogger("sandbox.server")

# A blank line so often tells a batch's reader, and proxies between, that the server is alive.
_SIGN_OF_LIFE_SECONDS = 10.0
# What else is done so soon after an outcome goes with it: to send, and to be read, costs as much for one as for ten.
_TOGETHER_SECONDS = 0.02
# Of lines that are not handed to the connection yet: with more, a batch starts no more of its programs.
_UNREAD_BYTES = 8 * MIB
# While all batches together have too much that is unread: until then nothing starts, and who does not read is dropped.
_LOOK_AGAIN_SECONDS = 0.25


class _Lines:
    """The lines that are made and not yet handed to the connection."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lines: list[bytes] = []
        self._bytes = 0
        self._came, self._went = asyncio.Event(), asyncio.Event()

    def put(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        self._connections.queued_bytes += len(line)
        self._came.set()

    async def wait(self) -> None:
        await self._came.wait()

    def take(self) -> list[bytes]:
        """All lines; those who wait for room have it."""
        lines, self._lines = self._lines, []
        self._connections.queued_bytes -= self._bytes
        self._bytes = 0
        self._came.clear()
        self._went.set()
        return lines

    async def room(self) -> None:
        """Wait until so little is unread that another program may start."""
        while self._bytes > _UNREAD_BYTES:
            self._went.clear()
            await self._went.wait()
        while self._connections.unread_bytes() > self._connections.bounds.unread_bytes:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def batch_lines(
    body: BatchBody, door: Embedded, metrics: Metrics, connections: Connections
) -> AsyncIterator[bytes]:
    """The answer of a batch, a few lines at a time."""
    lines = _Lines(connections)
    waiting = iter(enumerate(body.requests))

    async def work() -> None:
        for index, item in waiting:
            await lines.room()
            lines.put(await _line(index, item, door, metrics))

    workers = [asyncio.create_task(work()) for _ in range(min(door.at_a_time, len(body.requests)))]
    unwritten = len(body.requests)
    try:
        while unwritten:
            try:
                await asyncio.wait_for(lines.wait(), _SIGN_OF_LIFE_SECONDS)
            except TimeoutError:
                yield b"\n"
                continue
            if unwritten > 1:
                await asyncio.sleep(_TOGETHER_SECONDS)
            ready = lines.take()
            unwritten -= len(ready)
            yield b"".join(ready)
    finally:
        for worker in workers:
            worker.cancel()
        lines.take()


async def _line(index: int, item: ExecuteBody, door: Embedded, metrics: Metrics) -> bytes:
    prefix = b'{"index": %d, ' % index
    try:
        result = await metrics.observe("run", door.run_in_bulk(item.request(Limits())))
        return prefix + b'"result": ' + result_json(result) + b"}\n"
    except SandboxError as error:
        failure = error
    except Exception as error:
        log.exception("a program of a batch failed")
        failure = SandboxError(f"internal error: {type(error).__name__}")
    described = {**error_json(failure), "status": failure.http_status}
    return prefix + b'"error": ' + json.dumps(described).encode() + b"}\n"
