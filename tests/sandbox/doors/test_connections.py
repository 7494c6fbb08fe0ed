"""What a client can do to the server, before and after the token: bytes, seconds, connections, unread answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sandbox.server.connections import Bounds

TOKEN = "s3cret"
KEY = b"Authorization: Bearer s3cret\r\n"


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader, seconds: float = 5.0) -> bytes:
    """Everything until the server closes; a reset ends it, too."""
    came = bytearray()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(seconds):
            while chunk := await reader.read(1 << 16):
                came += chunk
    return bytes(came)


async def healthy_within(url: str, seconds: float) -> None:
    began = time.monotonic()
    async with connected(url) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await answer(reader)
    assert time.monotonic() - began < seconds


def attack(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test(), 90))


@pytest.mark.parametrize(
    ("start", "chunk", "status"),
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 10_000, b"431", id="many headers"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\n", (b"a: " + b"b" * 9000 + b"\r\n") * 8, b"431", id="long"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nX: ", b"a" * 65536, b"431", id="one endless header"),
        pytest.param(b"GET /", b"a" * 65536, b"431", id="an endless path"),
        pytest.param(b"GET /?", b"a=b&" * 16384, b"431", id="an endless query"),
        pytest.param(b"", b"\r\n" * 32768, b"431", id="nothing but line ends"),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 10_000, b"400", id="trailers"
        ),
    ],
)
def test_a_head_is_bounded_in_bytes_before_the_token(fake: Any, start: bytes, chunk: bytes, status: bytes) -> None:
    async def test() -> None:
        async with fake(token=TOKEN) as (_, url), connected(url) as (reader, writer):
            writer.write(start)
            sent = 0
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(8):
                    while sent < 8 << 20 and not reader.at_eof() and not writer.is_closing():
                        writer.write(chunk)
                        await writer.drain()
                        sent += len(chunk)
                        await asyncio.sleep(0.01)
            came = await answer(reader)
            assert sent < 8 << 20, "the server went on reading"
            assert not came or came.startswith(b"HTTP/1.1 " + status)
            await healthy_within(url, 1.0)

    attack(test)


def test_a_head_that_trickles_ends_in_time_and_so_does_a_connection_that_is_silent(fake: Any) -> None:
    async def test() -> None:
        bounds = Bounds(head_seconds=0.6)
        async with (
            fake(token=TOKEN, bounds=bounds) as (_, url),
            connected(url) as (silent, _),
            connected(url) as (reader, writer),
        ):
            began = time.monotonic()

            async def trickle() -> None:
                with contextlib.suppress(ConnectionError):
                    for byte in b"GET /healthz HTTP/1.1\r\nHost: " + b"x" * 1000:
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0.05)

            trickling = asyncio.create_task(trickle())
            assert (await answer(reader)).startswith(b"HTTP/1.1 408")
            assert (await answer(silent)).startswith(b"HTTP/1.1 408")
            assert time.monotonic() - began < 2
            trickling.cancel()

    attack(test)


@pytest.mark.parametrize(("key", "status"), [(b"", b"401"), (KEY, b"408")])
def test_a_body_that_trickles_ends_in_time(fake: Any, key: bytes, status: bytes) -> None:
    async def test() -> None:
        bounds = Bounds(body_seconds=0.5, whole_body_seconds=1.0, refused_body_seconds=0.5)
        async with fake(token=TOKEN, bounds=bounds) as (engine, url), connected(url) as (reader, writer):
            head = b"POST /v1/execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + key
            writer.write(head + b"Content-Length: 5000\r\n\r\n")
            began = time.monotonic()

            async def trickle() -> None:
                with contextlib.suppress(ConnectionError):
                    for _ in range(5000):
                        writer.write(b" ")
                        await asyncio.sleep(0.05)

            trickling = asyncio.create_task(trickle())
            assert (await answer(reader)).startswith(b"HTTP/1.1 " + status)
            assert time.monotonic() - began < 3
            trickling.cancel()
            assert engine.ran == []

    attack(test)


def test_requests_on_one_connection_wait_in_small_numbers(fake: Any) -> None:
    async def test() -> None:
        async with fake(token=TOKEN) as (_, url), connected(url) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)
            assert (await answer(reader)).count(b"200 OK") < 100
            await healthy_within(url, 1.0)

    attack(test)


def test_a_few_pipelined_requests_and_an_upgrade_are_answered_as_they_stand(fake: Any) -> None:
    async def test() -> None:
        async with fake(token=TOKEN) as (_, url), connected(url) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await answer(reader)).count(b"200 OK") == 5
        async with fake(token=TOKEN) as (_, url), connected(url) as (reader, writer):
            upgrade = b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
            keys = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + upgrade + keys + b"\r\n")
            assert b"200 OK" in await answer(reader)

    attack(test)


def test_strangers_take_no_connection_from_who_has_the_token(fake: Any) -> None:
    async def test() -> None:
        async with contextlib.AsyncExitStack() as held:
            _, url = await held.enter_async_context(fake(token=TOKEN, bounds=Bounds(strangers=8, connections=12)))
            reader, writer = await held.enter_async_context(connected(url))
            request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n"
            writer.write(request)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            for _ in range(50):
                await held.enter_async_context(connected(url))
            await asyncio.sleep(0.1)
            writer.write(request)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            await healthy_within(url, 1.0)

    attack(test)


def test_more_connections_than_there_may_be_are_told_so(fake: Any) -> None:
    async def test() -> None:
        async with contextlib.AsyncExitStack() as held:
            _, url = await held.enter_async_context(fake(token=TOKEN, bounds=Bounds(connections=4)))
            for _ in range(4):
                reader, writer = await held.enter_async_context(connected(url))
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n")
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            reader, _ = await held.enter_async_context(connected(url))
            came = await answer(reader)
            assert came.startswith(b"HTTP/1.1 503")
            assert b"Overloaded" in came

    attack(test)


def batch(programs: int, size: int) -> bytes:
    body = json.dumps({"requests": [{"code": f"{index}" + "x" * size} for index in range(programs)]}).encode()
    head = b"POST /v1/execute/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return head + KEY + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def settled(count: Callable[[], int]) -> int:
    """A count above 0 that has not changed for two seconds, however busy the machine is: within 30 seconds."""
    last, since = 0, time.monotonic()
    for _ in range(300):
        await asyncio.sleep(0.1)
        if (now := count()) != last:
            last, since = now, time.monotonic()
        elif last and time.monotonic() > since + 2:
            return last
    raise AssertionError(f"it is {last} and changes still")


def test_a_batch_that_is_not_read_starts_no_more_programs_until_it_is(fake: Any) -> None:
    async def test() -> None:
        async with fake(token=TOKEN) as (engine, url), connected(url) as (reader, writer):
            writer.write(batch(60, 1 << 20))
            started = await settled(lambda: len(engine.ran))
            assert started < 40
            assert (await answer(reader, 20)).count(b'"index"') == 60
            assert len(engine.ran) == 60

    attack(test)


def test_an_answer_that_nobody_reads_is_dropped_and_until_then_nothing_more_is_taken(fake: Any) -> None:
    async def test() -> None:
        bounds = Bounds(answer_seconds=3.0, unread_bytes=1 << 20)
        async with fake(token=TOKEN, bounds=bounds) as (engine, url), connected(url) as (_, writer):
            writer.write(batch(30, 1 << 20))
            refused = b""
            while not refused.startswith(b"HTTP/1.1 429"):
                await asyncio.sleep(0.1)
                async with connected(url) as (second, asking):
                    asking.write(batch(1, 1))
                    refused = await answer(second)
            assert b"retry-after" in refused
            while refused.startswith(b"HTTP/1.1 429"):
                await asyncio.sleep(0.1)
                async with connected(url) as (third, asking):
                    asking.write(batch(1, 1))
                    refused = await answer(third)
            assert b'"index": 0' in refused
            assert sum("x" * 99 in code for code in engine.ran) < 30, "nobody waits for the rest of the first"

    attack(test)


def test_bodies_are_bounded_together(fake: Any) -> None:
    async def test() -> None:
        async with fake(token=TOKEN, bounds=Bounds(requests_bytes=3 << 20), max_body_bytes=2 << 20) as (engine, url):
            async with contextlib.AsyncExitStack() as held:
                came = []
                for _ in range(3):
                    reader, writer = await held.enter_async_context(connected(url))
                    body = json.dumps({"code": "block" + "x" * (3 << 19)}).encode()
                    head = b"POST /v1/execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    writer.write(head + KEY + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                    came.append(asyncio.create_task(answer(reader)))
                    await asyncio.sleep(0.3)
                assert engine.running == 1
                engine.release.set()
                answers = await asyncio.gather(*came)
                assert sorted(text[9:12] for text in answers) == [b"200", b"429", b"429"]
            async with connected(url) as (reader, writer):
                writer.write(batch(1, 1 << 20))
                assert b'"index": 0' in await answer(reader), "what was held is given back"

    attack(test)
