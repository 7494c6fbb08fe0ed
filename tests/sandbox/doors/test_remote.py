"""What becomes of a request when the server or the way to it fails: one outcome or one error of ours, run once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sandbox import (
    AsyncSandbox,
    BadRequest,
    ExecRequest,
    Overloaded,
    SandboxError,
    SandboxUnavailable,
    SessionBusy,
    SessionLost,
    Unauthorized,
)
from sandbox.client.embedded import Embedded
from sandbox.server.serve import _listen


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, 60)

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def proxy(url: str, cut: Callable[[int, bytes], bool]) -> AsyncIterator[str]:
    """Passes connections on to `url`; where `cut(n, answer)` of its n-th answer is true, it closes instead."""
    host, port = url.removeprefix("http://").split(":")
    answers = 0
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answers
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        writers.extend((writer, up_writer))

        async def upward() -> None:
            while chunk := await reader.read(1 << 16):
                up_writer.write(chunk)

        task = asyncio.create_task(upward())
        try:
            while chunk := await up_reader.read(1 << 16):
                answers += 1
                if cut(answers, chunk):
                    break
                writer.write(chunk)
        finally:
            task.cancel()
            writer.close()
            up_writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


@contextlib.asynccontextmanager
async def answering(status: int, body: bytes, headers: str = "") -> AsyncIterator[tuple[str, list[int]]]:
    """A server that gives every request this answer, its address, and how many it got."""
    asked = [0]

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.split(b"content-length: ")[1].split(b"\r\n")[0] if b"content-length" in head else b"0"
                await reader.readexactly(int(length))
                asked[0] += 1
                writer.write(f"HTTP/1.1 {status} X\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


def error_body(kind: str) -> bytes:
    return json.dumps({"error": {"type": kind, "message": "said by the server"}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, error_body("Unauthorized"), Unauthorized),
        (409, error_body("SessionBusy"), SessionBusy),
        (410, error_body("SessionLost"), SessionLost),
        (413, error_body("BadRequest"), BadRequest),
        (422, error_body("BadRequest"), BadRequest),
        (429, error_body("Overloaded"), Overloaded),
        (500, error_body("SandboxError"), SandboxError),
        (503, error_body("SandboxUnavailable"), SandboxUnavailable),
        (418, error_body("FromTheFuture"), SandboxError),
        (502, b"<html>Bad Gateway</html>", SandboxUnavailable),
        (404, b"<html>Not Found</html>", SandboxError),
        (422, b'{"detail": "another service"}', SandboxError),
        (422, b'{"error": "another service"}', SandboxError),
        (200, b"<html>a login page</html>", SandboxUnavailable),
    ],
)
def test_every_answer_but_a_result_is_an_exception_of_its_class(
    status: int, body: bytes, expected: type[SandboxError]
) -> None:
    async def test() -> None:
        async with answering(status, body) as (url, _), AsyncSandbox(url, patience_seconds=0) as sandbox:
            with pytest.raises(SandboxError) as caught:
                await sandbox.run("1")
            assert type(caught.value) is expected
            with pytest.raises(SandboxError) as caught:
                async for _result in sandbox.run_many(["1"]):
                    pass
            assert type(caught.value) is expected

    run(test())


@pytest.mark.parametrize(
    ("status", "kind", "retried"), [(503, "SandboxUnavailable", True), (410, "SessionLost", False)]
)
def test_only_what_may_mend_is_asked_again(status: int, kind: str, retried: bool) -> None:
    async def test() -> None:
        async with (
            answering(status, error_body(kind)) as (url, asked),
            AsyncSandbox(url, patience_seconds=0.5) as sandbox,
        ):
            with pytest.raises(SandboxError):
                await sandbox.run("1")
            assert (asked[0] > 1) == retried

    run(test())


def test_retry_after_is_honoured(fake: Any) -> None:
    async def test() -> None:
        async with (
            answering(429, error_body("Overloaded"), "retry-after: 1\r\n") as (url, asked),
            AsyncSandbox(url, patience_seconds=1.5) as sandbox,
        ):
            began = time.monotonic()
            with pytest.raises(Overloaded):
                await sandbox.run("1")
            assert asked[0] == 2
            assert time.monotonic() - began >= 1.0

    run(test())


def test_a_server_that_is_not_up_yet_is_waited_for(fake: Any) -> None:
    async def test() -> None:
        listening = _listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        listening.close()
        async with AsyncSandbox(f"http://127.0.0.1:{port}", patience_seconds=10) as sandbox:
            asked = asyncio.create_task(sandbox.run("late"))
            await asyncio.sleep(0.3)
            assert not asked.done()
            async with fake(port=port) as (_, _url):
                assert (await asked).stdout == "late"

    run(test())


def test_no_server_at_all_is_our_exception_after_the_patience() -> None:
    async def test() -> None:
        async with AsyncSandbox("http://127.0.0.1:9", patience_seconds=0.3) as sandbox:
            began = time.monotonic()
            with pytest.raises(SandboxUnavailable, match="is the server running"):
                await sandbox.run("1")
            assert time.monotonic() - began < 2

    run(test())


def test_an_answer_lost_on_the_way_is_fetched_again_and_the_cell_runs_once(fake: Any) -> None:
    async def test() -> None:
        async with (
            fake() as (engine, url),
            proxy(url, lambda n, answer: n % 2 == 1) as cutting,
            AsyncSandbox(cutting) as sandbox,
            sandbox.session() as session,
        ):
            assert [(await session.run(code)).value for code in ("a", "b", "c")] == ["1", "2", "3"]
            assert (await sandbox.run("d")).stdout == "d"
            child = await session.fork()
            assert (await child.run("e")).value == "4"
            assert engine.ran == ["a", "b", "c", "d", "e"]
            assert len(engine.cells) == 2, "a session was opened or forked twice"

    run(test())


def test_a_batch_cut_again_and_again_gives_each_outcome_once_and_runs_each_once(fake: Any) -> None:
    async def test() -> None:
        async with (
            fake() as (engine, url),
            proxy(url, lambda n, answer: n % 5 == 0) as cutting,
            AsyncSandbox(cutting) as sandbox,
        ):
            programs = [f"p{index}" for index in range(120)]
            results = [result.stdout async for result in sandbox.run_many(programs)]
            assert results == programs
            # A program that was running when its connection broke is killed and begun again; none completes twice.
            assert sorted(set(engine.ran)) == sorted(programs)
            assert len(engine.ran) - len(engine.killed) == len(programs)

    run(test())


def test_a_failure_in_a_batch_is_retried_alone(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), AsyncSandbox(url) as sandbox:
            engine.failures = [SandboxUnavailable("a worker died"), SandboxUnavailable("another")]
            results = [result.stdout async for result in sandbox.run_many(f"p{index}" for index in range(50))]
            assert results == [f"p{index}" for index in range(50)]
            assert len(engine.ran) == 50

    run(test())


def test_many_travel_in_few_requests_and_never_fill_the_queue(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), AsyncSandbox(url, patience_seconds=0) as sandbox:
            engine.max_running = 4
            results = [result.stdout async for result in sandbox.run_many(f"p{index}" for index in range(500))]
            assert len(results) == 500
            assert engine.most_running == 4, "twice the two slots, no more and no fewer"

    run(test())


def test_one_slow_program_of_a_batch_does_not_stop_the_batches_after_it(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), AsyncSandbox(url) as sandbox:
            programs = ["block" if index % 300 == 0 else f"p{index}" for index in range(900)]
            tasks = [asyncio.create_task(sandbox.run_in_bulk(ExecRequest(code=code))) for code in programs]
            while len(engine.ran) < 900:
                await asyncio.sleep(0.01)
            engine.release.set()
            assert [(await task).stdout for task in tasks] == programs

    run(test())


def test_a_program_that_hangs_holds_up_no_other_in_this_process_either(fake_engine: Any) -> None:
    async def test() -> None:
        engine = fake_engine()
        door = Embedded(engine)
        await door.start()
        programs = ["block", *(f"p{index}" for index in range(100))]
        tasks = [asyncio.create_task(door.run_in_bulk(ExecRequest(code=code))) for code in programs]
        await asyncio.wait(tasks[1:])
        assert not tasks[0].done()
        engine.release.set()
        assert [(await task).stdout for task in tasks] == programs

    run(test())


def test_leaving_a_batch_early_kills_what_it_left(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), AsyncSandbox(url) as sandbox:
            results = sandbox.run_many(["p", "block1", "block2", "block3"])
            async for result in results:
                assert result.stdout == "p"
                break
            await results.aclose()
            for _ in range(100):
                await asyncio.sleep(0.02)
                if engine.running == 0:
                    break
            assert engine.running == 0
            assert set(engine.killed) <= {"block1", "block2", "block3"}
            assert engine.killed

    run(test())


def test_a_key_of_the_callers_own_is_kept(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), AsyncSandbox(url) as sandbox:
            for _ in range(3):
                assert (await sandbox.run("once", key="mine")).stdout == "once"
            assert engine.ran == ["once"]
            with pytest.raises(BadRequest, match="another request"):
                await sandbox.run("twice", key="mine")

    run(test())
