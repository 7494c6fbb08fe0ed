"""The engine by itself: what it shows, its queue, and what becomes of it when its processes die."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sandbox.engine import Engine
from sandbox.engine.pool import Pool
from sandbox.errors import BadRequest, Overloaded, SandboxError, SandboxUnavailable, SessionBusy, SessionLost
from sandbox.guest.display import pretty
from sandbox.types import ExecRequest, Limits
from tests.processes import descendants


@asynccontextmanager
async def started(**options: Any) -> AsyncIterator[Engine]:
    engine = Engine(**{"workers": 1, "preload": ()} | options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def namespace_pids(pid: int) -> list[str]:
    """What a process is called in each pid namespace that it is in, the outermost first."""
    found = re.search(r"^NSpid:\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return found[1].split()


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


@pytest.mark.parametrize(("victim", "ours"), [("1", True), ("2", False)])
def test_a_branch_whose_process_is_killed_gives_no_result_that_looks_like_one(victim: str, ours: bool) -> None:
    """Its init (1) by somebody else: our failure. Its program's process (2): who killed that, nobody can tell."""

    async def run() -> None:
        async with started() as engine:
            trunk = await engine.open_session()
            branch = await engine.fork_session(trunk)
            cell = asyncio.create_task(engine.run_in_session(branch, ExecRequest(code="import time; time.sleep(5)")))
            await asyncio.sleep(0.2)
            launcher = engine._pool._process.pid  # type: ignore[union-attr]
            names = {pid: namespace_pids(pid) for pid in descendants(launcher)}
            deepest = max(map(len, names.values()))
            os.kill(
                next(pid for pid, ids in names.items() if len(ids) == deepest and ids[-1] == victim), signal.SIGKILL
            )
            if ours:
                with pytest.raises(SandboxUnavailable, match="from outside"):
                    await cell
            else:
                assert ((await cell).status, (await cell).state_lost) == ("killed", True)
            assert (await engine.run_in_session(trunk, ExecRequest(code="1"))).value == "1"

    asyncio.run(run())


@pytest.mark.parametrize("depth", range(11))
def test_every_process_may_be_killed_and_the_engine_recovers(depth: int) -> None:
    """From the launcher to the preforked: the run that one carried fails as ours, later ones succeed."""

    async def recovers(attempt: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(100):
            try:
                return await attempt()
            except SandboxError:
                await asyncio.sleep(0.1)
        raise AssertionError("the engine has not recovered in 10 seconds")

    async def run() -> None:
        async with started(preload=("numpy",)) as engine:
            launcher = engine._pool._process.pid  # type: ignore[union-attr]
            async with asyncio.timeout(10.0):  # until the preforked are there
                while len(family := [launcher, *descendants(launcher)]) != 11:
                    await asyncio.sleep(0.02)
            job = asyncio.create_task(engine.run(ExecRequest(code="import time, numpy; time.sleep(0.6)\n1")))
            await asyncio.sleep(0.2)
            names = namespace_pids(family[depth])
            os.kill(family[depth], signal.SIGKILL)
            with suppress(SandboxUnavailable):
                done = await job
                # The program's own process, in a jail below the slot's: who killed that, nobody can tell.
                assert done.value == "1" or (done.signal == signal.SIGKILL and len(names) == 4 and names[-1] == "2")
            result = await recovers(lambda: engine.run(ExecRequest(code="import numpy\n2")))
            assert result.value == "2"
            family += descendants(engine._pool._process.pid)  # type: ignore[union-attr]
        deadline = time.monotonic() + 3.0
        while left := [pid for pid in family if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < deadline, f"{left} outlive their engine"
            await asyncio.sleep(0.05)

    asyncio.run(run())


@pytest.mark.parametrize("victim", ["slot", "slot that starts", "warden", "launcher"])
def test_a_death_while_the_engine_starts_again_costs_nothing_more(victim: str) -> None:
    """All slots work afterwards, and each runs one program at a time: a second would raise the limits of the first."""

    async def death(pool: Pool, old: list[Any]) -> None:
        """Kill one of the processes that are made in the place of those that were killed first."""
        former = pool._process
        while pool._process is former:
            await asyncio.sleep(0.001)
        assert pool._process is not None
        if victim == "launcher":
            pool._process.kill()
            return
        while len(family := descendants(pool._process.pid)) < (1 if victim == "warden" else 2):
            await asyncio.sleep(0.001)
        if victim != "slot":
            os.kill(family[-1], signal.SIGKILL)
            return
        while pool.slots == old or not pool.slots[0].ready.done():
            await asyncio.sleep(0.001)
        assert pool.slots[0].pidfd is not None
        signal.pidfd_send_signal(pool.slots[0].pidfd, signal.SIGKILL)

    async def one(engine: Engine) -> tuple[float, float]:
        code = "import time; began = time.monotonic(); time.sleep(0.3); print(began, time.monotonic())"
        while True:
            with suppress(SandboxUnavailable):
                began, ended = map(float, (await engine.run(ExecRequest(code=code))).stdout.split())
                return began, ended

    async def run() -> None:
        async with started(preload=("numpy",), workers=2) as engine, asyncio.timeout(30.0):
            pool = engine._pool
            assert pool is not None
            assert pool._process is not None
            killed = asyncio.create_task(death(pool, list(pool.slots)))
            pool._process.kill()
            await killed
            while pool._tasks:
                await asyncio.sleep(0.01)
            assert all(slot.alive for slot in pool.slots)
            spans = await asyncio.gather(*(one(engine) for _ in range(6)))
            together = [sum(begun <= began < ended for begun, ended in spans) for began, _ in spans]
            assert max(together) == 2

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


def test_a_burst_of_sessions_waits_its_turn_and_spreads_over_the_slots() -> None:
    async def run() -> None:
        async with started(workers=2, preload=(), max_sessions=200) as engine:
            names = await asyncio.gather(*(engine.open_session() for _ in range(150)))
            results = await asyncio.gather(*(engine.run_in_session(name, ExecRequest(code="6 * 7")) for name in names))
            assert {result.value for result in results} == {"42"}
            shares = Counter(session.slot.index for session in engine._sessions.values())
            assert shares == {0: 75, 1: 75}

    asyncio.run(run())


@pytest.mark.filterwarnings("ignore:isolation is off:RuntimeWarning")
def test_without_isolation_files_come_back_and_none_is_left() -> None:
    async def run() -> None:
        async with started(preload=(), isolation="none") as engine:
            request = ExecRequest(code="import os; open('f', 'w').write('hi'); os.getcwd()", fetch=("f",))
            result = await engine.run(request)
        assert result.files == {"f": b"hi"}
        folder = Path(ast.literal_eval(str(result.value)))
        async with asyncio.timeout(5.0):
            while folder.exists():
                await asyncio.sleep(0.02)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (ExecRequest(code="1", files={"a": b"x" * 100}, limits=Limits(file_bytes=50)), "files: 100 bytes in all"),
        (ExecRequest(code="1", limits=Limits(memory_bytes=1000)), "memory_bytes is 1000, expected at least 16777216"),
    ],
)
def test_what_cannot_even_begin_is_refused(request_: ExecRequest, what: str) -> None:
    with pytest.raises(BadRequest, match=what):
        request_.check()


def test_the_least_memory_and_a_full_folder_are_answers_and_no_path_of_the_host_is_shown() -> None:
    async def run() -> None:
        async with started() as engine:
            least = Limits(memory_bytes=int(Limits.MINIMUM["memory_bytes"]))
            assert (await engine.run(ExecRequest(code="6 * 7", limits=least))).value == "42"
            failed = await engine.run(ExecRequest(code="from json.decoder import nonsense"))
            assert failed.error is not None
            assert failed.error.message == "cannot import name 'nonsense' from 'json.decoder' (json/decoder.py)"
            assert str(Path(os.__file__).parent) not in failed.error.traceback
            session = await engine.open_session(limits=Limits(file_bytes=1 << 20))
            await engine.run_in_session(session, ExecRequest(code="open('a', 'wb').write(b'x' * 900_000)"))
            full = await engine.run_in_session(session, ExecRequest(code="1", files={"b": b"y" * 500_000}))
            assert full.status == "error"
            assert full.error is not None
            assert "No space left" in full.error.message
            assert (await engine.run_in_session(session, ExecRequest(code="2"))).value == "2"

    asyncio.run(run())


@pytest.mark.root
def test_a_frozen_engine_charges_no_program_for_it() -> None:
    """As `docker pause` does it: every process stops, and the clock goes on."""

    async def run() -> None:
        async with started() as engine:
            family = [engine._pool._process.pid, *descendants(engine._pool._process.pid)]  # type: ignore[union-attr]
            job = asyncio.create_task(
                engine.run(
                    ExecRequest(
                        code="import time\nfor _ in range(10): time.sleep(0.1)", limits=Limits(wall_seconds=2.5)
                    )
                )
            )
            await asyncio.sleep(0.5)
            family += [pid for pid in descendants(family[0]) if pid not in family]
            for pid in family:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(4.0)
            for pid in reversed(family):
                os.kill(pid, signal.SIGCONT)
            assert (await job).status == "ok"

    asyncio.run(run())


def test_the_slots_own_time_is_not_a_programs() -> None:
    """A program whose process has not begun has no clock yet; the kernel's clock of process 0 is the asker's own."""

    async def run() -> None:
        async with started() as engine:
            brief = Limits(cpu_seconds=0.4)
            for _ in range(150):  # the slot uses more than that for itself
                await engine.run(ExecRequest(code="1"))
            results = [await engine.run(ExecRequest(code="1", limits=brief)) for _ in range(20)]
            assert {result.status for result in results} == {"ok"}

    asyncio.run(run())


def test_a_slot_with_many_sessions_holds_their_limits() -> None:
    """`select` takes no descriptor from 1,024 on; a slot has eight or so a session."""
    endless = ExecRequest(code="while True: pass", limits=Limits(wall_seconds=0.3))

    async def run() -> None:
        async with started(workers=1, preload=("json",), max_sessions=300) as engine:
            sessions = [await engine.open_session() for _ in range(260)]
            launcher = engine._pool._process.pid  # type: ignore[union-attr]
            most = max(len(os.listdir(f"/proc/{pid}/fd")) for pid in descendants(launcher))
            assert most > 1024, "the slot has too few descriptors for this test to mean anything"
            last = sessions[-1]
            assert (await engine.run_in_session(last, endless)).status == "timeout"
            assert (await engine.run(endless)).status == "timeout"
            branch = await engine.fork_session(sessions[0])
            await engine.close_session(branch)
            assert (await engine.run_in_session(sessions[0], ExecRequest(code="6*7"))).value == "42"
            assert engine.status().supervisor_faults == 0

    asyncio.run(run())


def test_what_comes_in_does_not_put_off_the_look_at_limits() -> None:
    """Sessions come and go in its slot faster than the processes of a cell are looked at, ten times a second."""
    code = "import os, time\nfor _ in range(2):\n    if os.fork() == 0:\n        while True: pass\ntime.sleep(60)"
    hidden = ExecRequest(code=code, limits=Limits(cpu_seconds=0.5, wall_seconds=12))

    async def run() -> None:
        async with started(workers=1, preload=("json",)) as engine:
            session = await engine.open_session()
            cell = asyncio.ensure_future(engine.run_in_session(session, hidden))
            while not cell.done():
                await engine.close_session(await engine.open_session())
            result = await cell
            assert (result.status, result.wall_seconds < 6) == ("timeout", True), result

    asyncio.run(run())


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core there is no other to keep off")
@pytest.mark.parametrize("workers", [1, 2])
def test_slots_that_fill_the_machine_keep_to_a_core_each_and_programs_to_none(workers: int) -> None:
    every = os.sched_getaffinity(0)
    two = set(sorted(every)[:2])
    look = ExecRequest(code="import os\nsorted(os.sched_getaffinity(0))")

    async def run() -> None:
        async with started(workers=workers, preload=("json",)) as engine:
            session = await engine.open_session()
            branch = await engine.fork_session(session)
            seen = [await engine.run(look), *[await engine.run_in_session(name, look) for name in (session, branch)]]
            assert [result.value for result in seen] == [str(sorted(two))] * 3
            await engine.close_session(session)
            await engine.close_session(branch)
            await asyncio.sleep(0.3)  # the preforked that replace them are there
            launcher = engine._pool._process.pid  # type: ignore[union-attr]
            kept = Counter(tuple(sorted(os.sched_getaffinity(pid))) for pid in descendants(launcher))
            anywhere = kept.pop(tuple(sorted(two)))
            if workers == 1:
                assert not kept, "the kernel knows better which core is idle"
            else:
                assert anywhere == 2 + 2, "the warden and the mother; for each slot, what furnishes a session's branch"
                assert sorted(kept) == [(core,) for core in sorted(two)]
                assert len(set(kept.values())) == 1, kept

    os.sched_setaffinity(0, two)
    try:
        asyncio.run(run())
    finally:
        os.sched_setaffinity(0, every)


DIES_FIRST = """
import os, signal
from sandbox.jail import linux, namespaces
forker = namespaces.Forker(os.open("/proc", os.O_PATH | os.O_DIRECTORY))
init = forker.fork_into_new_pid_namespace(signal.pause)
pidfd, fork = os.pidfd_open(init), linux.fork
def fork_too_late():
    os.kill(init, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    return fork()
linux.fork = fork_too_late
try:
    forker.fork_inside(pidfd, lambda: os._exit(0))
except ProcessLookupError:
    print("gone")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a pid namespace")
def test_a_namespace_whose_init_dies_before_the_fork_is_gone_and_not_out_of_memory() -> None:
    """The kernel says ENOMEM; taken at its word, the program would have had too little, or the mother would end."""
    assert subprocess.check_output([sys.executable, "-c", DIES_FIRST], text=True) == "gone\n"


def test_a_session_whose_slot_died_is_lost_and_says_so() -> None:
    async def run() -> None:
        async with started(workers=1) as engine:
            session = await engine.open_session()
            await engine.run_in_session(session, ExecRequest(code="x = 1"))
            launcher = engine._pool._process.pid  # type: ignore[union-attr]
            _warden, slot, *_ = descendants(launcher)
            os.kill(slot, signal.SIGKILL)
            async with asyncio.timeout(5.0):
                while engine.status().live_sessions:
                    await asyncio.sleep(0.02)
            with pytest.raises(SessionLost, match="the process that held it died"):
                await engine.run_in_session(session, ExecRequest(code="x"))

    asyncio.run(run())


def test_when_memory_runs_out_the_kernel_takes_a_program_first() -> None:
    async def run() -> None:
        async with started() as engine:
            session = await engine.open_session()
            await engine.run_in_session(session, ExecRequest(code="1"))
            launcher = engine._pool._process.pid  # type: ignore[union-attr]
            scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (launcher, *descendants(launcher))]
            assert scores.count(500) == 1
            assert set(scores) - {500} in ({0}, {-1000})  # only root lowers it, and not in every container

    asyncio.run(run())
