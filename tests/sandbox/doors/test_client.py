"""The verbs, the same at both doors, with the real engine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import fields, replace

import pytest

from sandbox import (
    AsyncSandbox,
    BadRequest,
    ExecRequest,
    ExecResult,
    InputError,
    Limits,
    Sandbox,
    SandboxUnavailable,
    SessionLost,
)
from sandbox.client.asynchronous import AHEAD, RunOptions


def test_a_program_gives_its_outcome(sandbox: Sandbox) -> None:
    result = sandbox.run("print('hi')\n6 * 7")
    assert (result.status, result.stdout, result.value, result.exit_code) == ("ok", "hi\n", "42", 0)
    assert result.ok


@pytest.mark.parametrize(
    ("code", "options", "expected"),
    [
        ("6 * 7", {"mode": "script"}, {"status": "ok", "value": None}),
        ("print(input())", {"stdin": "数\n"}, {"stdout": "数\n"}),
        ("1/0", {}, {"status": "error", "exit_code": 1}),
        ("while True: pass", {"limits": Limits(wall_seconds=0.3)}, {"status": "timeout", "exit_code": None}),
        ("import os; os.kill(os.getpid(), 9)", {}, {"status": "killed", "signal": 9}),
        ("print('x' * 5000)", {"limits": Limits(output_bytes=1000)}, {"status": "ok"}),
        ("import os; os.write(1, b'\\xff')", {"mode": "script"}, {"lossy_decode": True, "stdout": "\ufffd"}),
        ("raise SystemExit(3)", {}, {"exit_code": 3}),
        ("print('\ud800')", {}, {"status": "error"}),
        ("1\0", {}, {"status": "error"}),
    ],
)
def test_each_option_and_outcome_passes_through_the_door(
    sandbox: Sandbox, code: str, options: dict[str, object], expected: dict[str, object]
) -> None:
    result = sandbox.run(code, **options)  # type: ignore[arg-type]
    assert {name: getattr(result, name) for name in expected} == expected


def test_both_doors_give_the_same_result(embedded: Sandbox, remote: Sandbox) -> None:
    programs = ["import random; random.random()", "print('é' * 9)\n1/0", "import sympy\nsympy.sqrt(8)", "set('abcdef')"]

    def content(result: ExecResult) -> ExecResult:
        return replace(result, wall_seconds=0, cpu_seconds=0, queue_seconds=0, peak_memory_bytes=0)

    for program in programs:
        assert content(embedded.run(program)) == content(remote.run(program))


def test_files_go_in_and_come_back_byte_for_byte(sandbox: Sandbox) -> None:
    every_byte = bytes(range(256)) * 100
    result = sandbox.run(
        "data = open('in/a.bin', 'rb').read()\nopen('out.bin', 'wb').write(data[::-1])",
        files={"in/a.bin": every_byte},
        fetch=("out.bin", "missing"),
    )
    assert dict(result.files) == {"out.bin": every_byte[::-1]}


@pytest.mark.parametrize(
    "request_",
    [
        ExecRequest(code="1", seed=-1),
        ExecRequest(code="1", mode="cell"),  # type: ignore[arg-type]
        ExecRequest(code="1", limits=Limits(wall_seconds=float("nan"))),
        ExecRequest(code="1", files={"../up": b""}),
        ExecRequest(code="1", fetch=("/etc/passwd",)),
        ExecRequest(code="1", files={".": b""}),
        ExecRequest(code="1", files={"a//b": b""}),
        ExecRequest(code="1", files={"a": b"", "a/b": b""}),
        ExecRequest(code="1", files={"é" * 128: b""}),
        ExecRequest(code="1", files={"\ud800": b""}),
    ],
)
def test_what_cannot_be_run_as_asked_is_refused_before_it_runs(sandbox: Sandbox, request_: ExecRequest) -> None:
    options = {name: getattr(request_, name) for name in ("mode", "seed", "limits", "files", "fetch")}
    with pytest.raises(BadRequest):
        sandbox.run("1", **options)
    with pytest.raises(BadRequest):
        list(sandbox.run_many([request_]))


def test_many_results_come_in_order_though_the_first_is_slow(sandbox: Sandbox) -> None:
    requests: list[ExecRequest | str] = ["import time; time.sleep(0.5); print('slow')"]
    requests += [ExecRequest(code=f"print({i})") if i % 2 else f"print({i})" for i in range(60)]
    results = list(sandbox.run_many(requests))
    assert [result.stdout for result in results] == ["slow\n", *(f"{i}\n" for i in range(60))]


def test_an_endless_source_is_read_a_bounded_way_ahead_and_stopping_ends_it(sandbox: Sandbox) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "1"

    results = sandbox.run_many(endless())
    for _ in range(20):
        assert next(results).value == "1"
    results.close()  # type: ignore[attr-defined]
    assert read <= 20 + AHEAD + 1
    assert sandbox.run("2").value == "2"


def test_a_failing_source_raises_its_own_error(sandbox: Sandbox) -> None:
    def source() -> Iterator[str]:
        yield "1"
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(sandbox.run_many(source()))


def test_a_source_may_use_the_same_sandbox(sandbox: Sandbox) -> None:
    source = (f"{sandbox.run('20').value} + {i}" for i in range(3))
    assert [result.value for result in sandbox.run_many(source)] == ["20", "21", "22"]


def test_cells_share_state_and_an_error_keeps_it(sandbox: Sandbox) -> None:
    with sandbox.session() as session:
        session.run("x = 1\nopen('f', 'w').write('kept')")
        assert session.run("1/0").status == "error"
        assert session.run("x, open('f').read()").value == "(1, 'kept')"


def test_a_closed_session_is_lost_and_closing_twice_is_harmless(sandbox: Sandbox) -> None:
    session = sandbox.session()
    session.run("x = 1")
    session.close()
    session.close()
    with pytest.raises(SessionLost):
        session.run("x")


def test_a_session_ended_by_a_limit_says_so_and_is_lost_not_replayed(sandbox: Sandbox) -> None:
    with sandbox.session(limits=Limits(wall_seconds=0.3)) as session:
        session.run("x = 1")
        ended = session.run("while True: pass")
        assert (ended.status, ended.state_lost) == ("timeout", True), "the session's own limit holds for its cells"
        with pytest.raises(SessionLost):
            session.run("x")


def test_forks_do_not_see_each_others_later_writes(sandbox: Sandbox) -> None:
    with sandbox.session() as parent:
        parent.run("x = [1]\nopen('f', 'w').write('1')")
        with parent.fork() as child:
            child.run("x.append(2)\nopen('f', 'w').write('2')")
            parent.run("x.append(3)\nopen('f', 'w').write('3')")
            assert child.run("x, open('f').read()").value == "([1, 2], '2')"
            assert parent.run("x, open('f').read()").value == "([1, 3], '3')"


def test_threads_share_one_sandbox(sandbox: Sandbox) -> None:
    answers: dict[int, str | None] = {}

    def ask(index: int) -> None:
        for _ in range(3):
            answers[index] = sandbox.run(f"{index} * 10").value

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {index: str(index * 10) for index in range(8)}


def test_the_asynchronous_verbs_are_the_same(server_url: str) -> None:
    async def use(sandbox: AsyncSandbox) -> list[object]:
        async def source() -> AsyncIterator[str]:
            for index in range(5):
                await asyncio.sleep(0)
                yield f"{index} + 1"

        async with sandbox, sandbox.session() as session:
            await session.run("x = 5")
            child = await session.fork()
            seen: list[object] = [(await child.run("x")).value, (await sandbox.run("print(1)")).stdout]
            await child.close()
            seen += [result.value async for result in sandbox.run_many(source())]
            seen += [result.value async for result in sandbox.run_many(["7", "8"])]
            return seen

    expected: list[object] = ["5", "1\n", "1", "2", "3", "4", "5", "7", "8"]
    assert asyncio.run(use(AsyncSandbox(server_url))) == expected
    assert asyncio.run(use(AsyncSandbox(workers=1))) == expected


def test_cancelling_a_run_frees_its_slot(server_url: str) -> None:
    async def test() -> None:
        async with AsyncSandbox(server_url) as sandbox:
            forever = Limits(wall_seconds=60, cpu_seconds=60)
            hangs = [asyncio.create_task(sandbox.run("while True: pass", limits=forever)) for _ in range(4)]
            await asyncio.sleep(0.5)
            for hang in hangs:
                hang.cancel()
            await asyncio.wait(hangs)
            assert (await asyncio.wait_for(sandbox.run("1"), 5)).value == "1"

    asyncio.run(test())


def test_a_closed_sandbox_says_so() -> None:
    sandbox = Sandbox("http://127.0.0.1:9")
    sandbox.close()
    sandbox.close()
    with pytest.raises(RuntimeError, match="closed"):
        sandbox.run("1")


def test_closing_while_another_thread_waits_tells_it(server_url: str) -> None:
    for sandbox in (Sandbox(server_url), Sandbox(workers=1)):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            running = [pool.submit(sandbox.run, "while True: pass", limits=Limits(wall_seconds=60)) for _ in range(3)]
            time.sleep(0.5)
            sandbox.close()
            for each in running:
                with pytest.raises((RuntimeError, SandboxUnavailable)):
                    each.result(timeout=10)


def test_a_session_whose_server_has_gone_closes_without_waiting_for_it() -> None:
    sandbox = AsyncSandbox("http://127.0.0.1:9")

    async def test() -> None:
        async with sandbox:
            lost = sandbox.session()
            lost._id = "of a server that is gone"
            began = time.monotonic()
            await lost.close()
            assert time.monotonic() - began < 2

    asyncio.run(test())


def test_a_sandbox_made_before_a_fork_says_so_instead_of_hanging(remote: Sandbox) -> None:
    child = os.fork()
    if child == 0:
        try:
            remote.run("1")
        except RuntimeError as error:
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_sandbox_that_nobody_closes_is_closed_at_the_end_without_a_word() -> None:
    program = "from sandbox import Sandbox\nsandbox = Sandbox(workers=1, preload=())\nprint(sandbox.run('6 * 7').value)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("127.0.0.1:8000", {}, "not the address"),
        ("ftp://host", {}, "not the address"),
        ("unix://relative", {}, "not the address"),
        ("http://127.0.0.1:8000", {"workers": 2}, "workers: set by the server"),
        (None, {"token": "x"}, "token was given without"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    url: str | None, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Sandbox(url, **options)  # type: ignore[arg-type]


def test_run_takes_what_a_request_has() -> None:
    assert set(RunOptions.__annotations__) == {field.name for field in fields(ExecRequest)} - {"code"}
