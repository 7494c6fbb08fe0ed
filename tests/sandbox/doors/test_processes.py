"""Several front processes as one server: real processes, real engines, one port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import Sandbox, SandboxUnavailable, SessionLost
from sandbox.errors import InputError
from sandbox.server.processes import Shared, sum_metrics
from tests.processes import descendants, outliving
from tests.sandbox.doors.conftest import ROOT, serve_process


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Any, str]]:
    with serve_process("--workers", "2", "--processes", "2", "--max-sessions", "8") as (process, url):
        yield process, url


def fronts(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def sample(url: str, name: str) -> float:
    lines = httpx.get(url + "/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_one_batch_on_one_connection_has_the_slots_of_all_processes(server: Any) -> None:
    """Two programs that wait for each other's time: one slot would take twice as long."""
    _, url = server
    body = {"requests": [{"code": "import time; time.sleep(1.5)", "mode": "script"}] * 2}
    began = time.monotonic()
    answer = httpx.post(url + "/v1/execute/batch", json=body, timeout=30)
    assert answer.text.count('"ok"') == 2
    assert time.monotonic() - began < 2.8


def test_metrics_and_readiness_are_of_all_and_count_each_program_once(server: Any) -> None:
    _, url = server
    before = sample(url, "sandbox_outcomes_total")
    with Sandbox(url) as sandbox:
        assert [result.value for result in sandbox.run_many(map(str, range(40)))] == list(map(str, range(40)))
    assert sample(url, "sandbox_outcomes_total") - before == 40
    assert sample(url, "sandbox_workers ") == 2
    assert httpx.get(url + "/readyz").json()["slots"] == 2
    text = httpx.get(url + "/metrics").text
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


def test_sessions_live_in_both_processes_and_each_connection_finds_them(server: Any) -> None:
    _, url = server
    names = []
    for number in range(6):
        name = httpx.post(url + "/v1/sessions", json={}).json()["session_id"]
        names.append(name)
        cell = f"{url}/v1/sessions/{name}/execute"
        assert httpx.post(cell, json={"code": f"x = {number}"}).json()["status"] == "ok"
    assert {name.partition(".")[0] for name in names} == {"0", "1"}
    with ThreadPoolExecutor() as pool:  # each request on a connection of its own
        asked = [
            pool.submit(httpx.post, f"{url}/v1/sessions/{name}/execute", json={"code": "x"}, timeout=30)
            for name in names
        ]
        assert [answer.result().json()["value"] for answer in asked] == list(map(str, range(6)))
    child = httpx.post(f"{url}/v1/sessions/{names[0]}/fork", json={}).json()["session_id"]
    assert httpx.post(f"{url}/v1/sessions/{child}/execute", json={"code": "x"}).json()["value"] == "0"
    for name in (*names, child):
        assert httpx.delete(f"{url}/v1/sessions/{name}").status_code == 204
    assert httpx.post(f"{url}/v1/sessions/{names[0]}/execute", json={"code": "x"}).status_code == 410
    assert httpx.post(f"{url}/v1/sessions/7.nobody/execute", json={"code": "x"}).status_code == 410


def test_a_session_keeps_its_own_limits_whoever_is_asked(server: Any) -> None:
    _, url = server
    limits = {"wall_seconds": 1.0, "cpu_seconds": 1.0}
    for _ in range(4):
        name = httpx.post(url + "/v1/sessions", json={"limits": limits}).json()["session_id"]
        answer = httpx.post(f"{url}/v1/sessions/{name}/execute", json={"code": "import time; time.sleep(4)"})
        assert answer.json()["status"] == "timeout"


def test_a_key_runs_once_whichever_process_the_retry_comes_to(server: Any) -> None:
    _, url = server
    body = {"code": "import os; os.urandom(8).hex()", "key": "once"}
    values = {httpx.post(url + "/v1/execute", json=body).json()["value"] for _ in range(12)}
    assert len(values) == 1
    opening = {"key": "opened once"}
    names = {httpx.post(url + "/v1/sessions", json=opening).json()["session_id"] for _ in range(8)}
    assert len(names) == 1


def test_a_process_that_is_killed_is_started_again_and_its_sessions_are_lost_and_no_others() -> None:
    with serve_process("--workers", "2", "--processes", "2") as (process, url):
        with Sandbox(url) as sandbox:
            sessions = {}
            while len(sessions) < 2:
                session = sandbox.session()
                session.run("x = 1")
                sessions[session._verbs._id.partition(".")[0]] = session  # type: ignore[union-attr]
            os.kill(fronts(process.pid)[0], signal.SIGKILL)
            assert sandbox.run("6 * 7").value == "42"
            assert sessions["1"].run("x").value == "1"
            with pytest.raises((SessionLost, SandboxUnavailable)):
                sessions["0"].run("x")
            deadline = time.monotonic() + 20
            while len(fronts(process.pid)) < 2 or httpx.get(url + "/readyz").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert [result.value for result in sandbox.run_many(["1", "2", "3"])] == ["1", "2", "3"]
        pids = descendants(process.pid)
        process.kill()
        process.wait()
        assert outliving(pids, seconds=5.0) == [], "nothing survives a parent that is killed"


def test_sigterm_drains_all_and_leaves_no_process() -> None:
    with serve_process("--workers", "2", "--processes", "2") as (process, url):
        pids = descendants(process.pid)
        with ThreadPoolExecutor() as pool, Sandbox(url) as sandbox:
            running = [pool.submit(sandbox.run, "import time; time.sleep(1); print('done')") for _ in range(2)]
            time.sleep(0.4)
            process.send_signal(signal.SIGTERM)
            assert [one.result().stdout for one in running] == ["done\n"] * 2
        assert process.wait(10) == 0
        assert outliving(pids, seconds=5.0) == []


def test_a_place_of_a_key_is_taken_by_the_next_that_comes_to_it() -> None:
    shared = Shared(2)
    assert (shared.owner("a", 0), shared.owner("a", 1), shared.owner("b", 1)) == (0, 0, 1)
    for number in range(200_000):
        shared.owner(str(number), 0)
    assert shared.owner("a", 1) == 1, "a later key has its place"


def test_metrics_of_several_are_one_exposition() -> None:
    one = '# HELP n N\n# TYPE n counter\nn_total{k="a b"} 1.0\nn_created{k="a b"} 9.0\n# TYPE m gauge\nm 2.0\n'
    two = '# HELP n N\n# TYPE n counter\nn_total{k="a b"} 2.0\nn_total{k="c"} 5.0\n# TYPE m gauge\nm 3.0\n'
    assert sum_metrics([one, two]).splitlines() == [
        "# HELP n N",
        "# TYPE n counter",
        'n_total{k="a b"} 3.0',
        'n_total{k="c"} 5.0',
        'n_created{k="a b"} 9.0',
        "# TYPE m gauge",
        "m 5.0",
    ]


def test_an_embedded_sandbox_may_have_processes_of_its_own() -> None:
    others = set(descendants(os.getpid()))
    with Sandbox(workers=2, processes=2) as sandbox:
        assert [result.value for result in sandbox.run_many(["6 * 7", "1 / 2"])] == ["42", "0.5"]
        with sandbox.session() as session:
            session.run("x = 41")
            assert session.run("x + 1").value == "42"
        pids = set(descendants(os.getpid())) - others
        assert pids
    assert outliving(pids, seconds=5.0) == []


def test_the_processes_of_an_embedded_sandbox_end_with_a_caller_that_is_killed() -> None:
    code = (
        "from sandbox import Sandbox\nimport time\n"
        "print(Sandbox(workers=2, processes=2).run('1').value, flush=True)\ntime.sleep(60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "1\n"
    pids = descendants(caller.pid)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert outliving(pids, seconds=5.0) == []


def test_more_processes_than_slots_are_refused() -> None:
    with pytest.raises(InputError, match="processes is 3"):
        Sandbox(workers=2, processes=3)
