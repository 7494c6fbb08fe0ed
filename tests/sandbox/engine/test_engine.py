"""The engine by itself: what it shows, its queue, and what becomes of it when its processes die."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sandbox.display import pretty
from sandbox.engine import Engine
from sandbox.errors import Overloaded, SandboxError, SandboxUnavailable, SessionBusy, SessionLost
from sandbox.types import ExecRequest, Limits


@asynccontextmanager
async def started(**options: Any) -> AsyncIterator[Engine]:
    engine = Engine(**{"workers": 1, "preload": ()} | options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def tree(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        found.append(pid := todo.pop())
        for task in Path(f"/proc/{pid}/task").iterdir():
            todo += [int(child) for child in (task / "children").read_text().split()]
    return found[1:]


@pytest.mark.parametrize(
    ("code", "mode", "value"),
    [
        ("1 + 1", "notebook", "2"),
        ("1 + 1", "script", None),
        ("x = 1", "notebook", None),
        ("None", "notebook", None),
        ("1;", "notebook", None),
        ("';'  # ; not the end", "notebook", "';'"),
        ("'#;'", "notebook", "'#;'"),
        ("for i in range(3): i", "notebook", None),
        ("", "notebook", None),
        ("from __future__ import annotations\n1", "notebook", "1"),
    ],
)
def test_a_notebook_shows_its_last_expression(box: Any, code: str, mode: str, value: str | None) -> None:
    assert box.run(code, mode=mode).value == value


def test_long_containers_are_laid_out_as_in_a_notebook() -> None:
    long = "x" * 50
    assert pretty([1, [2]]) == "[1, [2]]"
    assert pretty([long, long]) == f"[{long!r},\n {long!r}]"
    assert pretty({"a": long, "b": (long,)}) == f"{{'a': {long!r},\n 'b': ({long!r},)}}"
    assert pretty(list(range(2000))).endswith("\n 999,\n ...]")
    endless: list[object] = [long, long]
    endless.append(endless)
    assert pretty(endless).endswith("[...]]")


def test_an_engine_starts_again_and_again() -> None:
    async def run() -> None:
        for _ in range(2):
            async with started() as engine:
                assert (await engine.run(ExecRequest(code="1"))).value == "1"
        with pytest.raises(SandboxUnavailable):
            await engine.run(ExecRequest(code="1"))

    asyncio.run(run())


def test_a_full_queue_and_a_deadline_in_it_are_overload() -> None:
    async def run() -> None:
        async with started(max_queue=1) as engine:
            slow = asyncio.create_task(engine.run(ExecRequest(code="import time; time.sleep(1)")))
            await asyncio.sleep(0.2)
            waiting = asyncio.create_task(engine.run(ExecRequest(code="1", queue_seconds=0.2)))
            await asyncio.sleep(0.05)
            with pytest.raises(Overloaded, match="max_queue"):
                await engine.run(ExecRequest(code="1"))
            with pytest.raises(Overloaded, match="queue_seconds"):
                await waiting
            patient = await engine.run(ExecRequest(code="1", limits=Limits(wall_seconds=0.5)))
            assert (patient.status, patient.queue_seconds > 0.1) == ("ok", True)
            assert (await slow).status == "ok"

    asyncio.run(run())


def test_sessions_are_capped_and_one_cell_runs_at_a_time() -> None:
    async def run() -> None:
        async with started(max_sessions=2, workers=2) as engine:
            first, second = await engine.open_session(), await engine.open_session()
            await engine.run_in_session(first, ExecRequest(code="1"))
            third = await engine.open_session()
            with pytest.raises(SessionLost, match="idle longest"):
                await engine.run_in_session(second, ExecRequest(code="1"))
            cell = asyncio.create_task(engine.run_in_session(first, ExecRequest(code="import time; time.sleep(0.5)")))
            await asyncio.sleep(0.2)
            for attempt in (engine.run_in_session(first, ExecRequest(code="1")), engine.fork_session(first)):
                with pytest.raises(SessionBusy):
                    await attempt
            assert (await cell).status == "ok"
            assert (await engine.run_in_session(third, ExecRequest(code="1"))).value == "1"

    asyncio.run(run())


@pytest.mark.parametrize("depth", range(6))
def test_every_process_may_be_killed_and_the_engine_recovers(depth: int) -> None:
    """From the launcher to the spare jail: the run that one carried fails as ours, later ones succeed."""

    async def recovers(attempt: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(100):
            try:
                return await attempt()
            except SandboxError:
                await asyncio.sleep(0.1)
        raise AssertionError("the engine has not recovered in 10 seconds")

    async def run() -> None:
        async with started(preload=("numpy",)) as engine:
            launcher = engine._crew._process.pid  # type: ignore[union-attr]
            while len(family := [launcher, *tree(launcher)]) != 6:
                await asyncio.sleep(0.02)
            job = asyncio.create_task(engine.run(ExecRequest(code="import time, numpy; time.sleep(0.6)\n1")))
            await asyncio.sleep(0.2)
            os.kill(family[depth], signal.SIGKILL)
            with suppress(SandboxUnavailable):
                assert (await job).value == "1"
            result = await recovers(lambda: engine.run(ExecRequest(code="import numpy\n2")))
            assert result.value == "2"
            family += tree(engine._crew._process.pid)  # type: ignore[union-attr]
        deadline = time.monotonic() + 3.0
        while left := [pid for pid in family if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < deadline, f"{left} outlive their engine"
            await asyncio.sleep(0.05)

    asyncio.run(run())


def test_without_isolation_it_warns_and_says_so() -> None:
    async def run() -> None:
        engine = Engine(workers=1, preload=(), isolation="none")
        with pytest.warns(RuntimeWarning, match="isolation is off"):
            await engine.start()
        try:
            assert engine.status().isolation == "none"
            result = await engine.run(ExecRequest(code="1 + 1"))
            assert (result.value, result.isolation) == ("2", "none")
            late = await engine.run(ExecRequest(code="while True: pass", limits=Limits(wall_seconds=0.3)))
            assert late.status == "timeout"
        finally:
            await engine.close()

    asyncio.run(run())
