"""Too few open files, and files that a program keeps from being opened: failures of ours, told as such, in time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import ExecRequest, Limits, Sandbox, SandboxUnavailable
from sandbox.engine.results import fetch, read_report

ROOT = Path(__file__).parents[3]
LEASE = """
import fcntl, signal
signal.signal(signal.SIGIO, signal.SIG_IGN)
held = []
for n in range(256):
    try:  # as many as may be open; where the filter refuses leases, none is held
        held.append(open(f"{n}.png", "wb"))
        fcntl.fcntl(held[-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        pass
"""
RENAMES = """
import os
os.makedirs("a/b/c"); open("a/b/c/x.png", "w").close()
if os.fork() == 0:
    while True:
        os.rename("a/b", "a/d"); os.rename("a/d", "a/b")
"""
FIFOS = "import os\nfor n in range(256): os.mkfifo(f'{n}.png')"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        pytest.param(LEASE, tuple(f"{n}.png" for n in range(256)), id="leases"),
        pytest.param(RENAMES, ("a/b/c/x.png",) * 256, id="renames"),
        pytest.param(FIFOS, tuple(f"{n}.png" for n in range(256)), id="fifos"),
    ],
)
def test_files_that_cannot_be_opened_hold_up_nobody(serving: Any, code: str, names: tuple[str, ...]) -> None:
    with serving("--workers", "1") as (_, url), Sandbox(url) as sandbox, sandbox.session() as session:
        slowest = 0.0
        done = threading.Event()

        def probe() -> None:
            nonlocal slowest
            while not done.is_set():
                began = time.monotonic()
                assert httpx.get(url + "/healthz", timeout=60).status_code == 200
                slowest = max(slowest, time.monotonic() - began)

        probing = threading.Thread(target=probe)
        probing.start()
        began = time.monotonic()
        result = session.run(code, fetch=names)
        took = time.monotonic() - began
        done.set()
        probing.join()
        assert result.status == "ok"
        assert took < 5
        assert slowest < 1.0


def test_a_lease_of_another_process_makes_a_file_absent_at_once(tmp_path: Path) -> None:
    (tmp_path / "leased").write_text("x")
    (tmp_path / "free").write_text("y")
    holding = (
        "import fcntl, os, signal, sys\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        f"fcntl.fcntl(os.open({str(tmp_path / 'leased')!r}, os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", holding], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        began = time.monotonic()
        assert fetch(os.open(tmp_path, os.O_PATH), ("leased", "free"), 1 << 20) == {"free": b"y"}
        assert time.monotonic() - began < 1
        holder.kill()


def test_a_value_cannot_have_lost_more_than_memory_holds() -> None:
    for lie in (1 << 52, -1, True, 1e300):
        assert read_report(b'{"value": "1", "value_cut": %s}' % str(lie).lower().encode(), 100)["value_cut"] == 0
    assert read_report(b'{"value": "1", "value_cut": 5}', 100)["value_cut"] == 5


def test_too_low_a_limit_on_open_files_is_refused_at_the_start_in_one_line() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -n 64; exec {sys.executable} -m sandbox serve --port 0"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "open files and the limit is 64" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_process_without_open_files_says_so_and_can_be_asked_again() -> None:
    with Sandbox(workers=1, preload=()) as sandbox:
        assert sandbox.run("1").value == "1"
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 3, hard))
            with pytest.raises(SandboxUnavailable, match="open files"):
                sandbox.run("1")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        before = len(os.listdir("/proc/self/fd"))
        results = list(sandbox.run_many([ExecRequest(code="1", limits=Limits(wall_seconds=5))] * 20))
        assert [result.value for result in results] == ["1"] * 20
        assert len(os.listdir("/proc/self/fd")) <= before + 2
