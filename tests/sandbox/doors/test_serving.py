"""The server's process and the command line, as shipped: real processes, real engine."""

from __future__ import annotations

import concurrent.futures
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import Limits, Sandbox, SandboxUnavailable
from tests.processes import descendants, outliving

ROOT = Path(__file__).parents[3]


def command(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *argv], input=stdin, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--host", "0.0.0.0"), "a token is required"),
        (("--host", "::"), "a token is required"),
        (("--host", "no.such.host.invalid"), "a token is required"),
        (("--workers", "0"), "--workers is 0, expected at least 1"),
        (("--workers", "2", "--processes", "3"), "--processes is 3, expected at most one for each of 2 workers"),
        (("--port", "70000"), "--port is 70000"),
        (("--token-file", "/nonexistent"), "/nonexistent: No such file"),
        (("--token-file", "/dev/null"), "is empty"),
        (("--uds", "/nonexistent/socket"), "cannot listen on /nonexistent/socket"),
    ],
)
def test_what_must_not_be_served_is_refused_in_one_line(flags: tuple[str, ...], message: str) -> None:
    done = command("serve", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "Address already in use" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_sigterm_finishes_running_work_refuses_new_and_leaves_no_process(serving: Any) -> None:
    with serving("--workers", "1") as (process, url):
        pids = descendants(process.pid)
        assert pids, "the engine has processes"
        with concurrent.futures.ThreadPoolExecutor() as pool, Sandbox(url) as sandbox:
            running = pool.submit(sandbox.run, "import time; time.sleep(1); print('finished')")
            time.sleep(0.4)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            with Sandbox(url, patience_seconds=0) as late, pytest.raises(SandboxUnavailable):
                late.run("1")
            assert running.result().stdout == "finished\n"
        assert process.wait(10) == 0
        assert outliving(pids, seconds=5.0) == []


def test_a_second_signal_does_not_wait(serving: Any) -> None:
    with serving("--workers", "1") as (process, url), concurrent.futures.ThreadPoolExecutor() as pool:
        pids = descendants(process.pid)
        with Sandbox(url, patience_seconds=0) as sandbox:
            running = pool.submit(sandbox.run, "import time; time.sleep(50)", limits=Limits(wall_seconds=60))
            time.sleep(0.5)
            for _ in range(2):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
            with pytest.raises(SandboxUnavailable):
                running.result()
        process.wait(10)
        assert outliving(pids, seconds=5.0) == []


def test_nothing_survives_a_server_that_is_killed(serving: Any) -> None:
    with serving("--workers", "1") as (process, url), concurrent.futures.ThreadPoolExecutor() as pool:
        with Sandbox(url, patience_seconds=0) as sandbox:
            running = pool.submit(sandbox.run, "import time; time.sleep(50)", limits=Limits(wall_seconds=60))
            time.sleep(0.5)
            pids = descendants(process.pid)
            process.kill()
            with pytest.raises(SandboxUnavailable):
                running.result()
        assert outliving(pids, seconds=5.0) == []


def test_a_unix_socket_serves_without_a_token_and_is_taken_over_from_a_dead_server(
    serving: Any, tmp_path: Path
) -> None:
    path = tmp_path / "sandbox.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with serving("--workers", "1", "--uds", str(path)) as (_, url):
        assert url == f"unix://{path}"
        with Sandbox(url) as sandbox:
            assert sandbox.run("6 * 7").value == "42"
            assert [result.value for result in sandbox.run_many(["1", "2"])] == ["1", "2"]
        taken = command("serve", "--uds", str(path))
        assert (taken.returncode, "Address already in use" in taken.stderr) == (2, True)
    assert not path.exists()


def test_beyond_loopback_the_token_of_the_file_is_asked_for(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    flags = ("--workers", "1", "--host", "0.0.0.0", "--token-file", str(tmp_path / "token"))
    with serving(*flags) as (_, url):
        address = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.post(address + "/v1/execute", json={"code": "1"}).status_code == 401
        with Sandbox(address, token="s3cret") as sandbox:
            assert sandbox.run("6 * 7").value == "42"


@pytest.mark.parametrize(
    ("program", "flags", "code", "stdout", "stderr"),
    [
        ("print(6 * 7)", (), 0, "42\n", ""),
        ("6 * 7", ("--mode", "notebook"), 0, "42\n", ""),
        ("raise SystemExit(3)", (), 3, "", ""),
        ("1/0", (), 1, "", "ZeroDivisionError"),
        ("while True: pass", ("--wall-seconds", "0.3"), 124, "", "timeout"),
        ("import os; os.kill(os.getpid(), 9)", (), 137, "", "killed"),
        ("1/0", ("--profile", "tora"), 0, "ZeroDivisionError: division by zero\n", ""),
        ("1", ("--wall-seconds", "-1"), 2, "", "wall_seconds is -1"),
    ],
)
def test_the_command_runs_one_program_and_ends_as_it_did(
    server_url: str, program: str, flags: tuple[str, ...], code: int, stdout: str, stderr: str
) -> None:
    done = command("run", "-", "--url", server_url, *flags, stdin=program)
    assert (done.returncode, done.stdout) == (code, stdout)
    assert stderr in done.stderr
    assert "sandbox/" not in done.stderr, "no frame of ours is shown"


def test_the_command_needs_no_server(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text("print('数')")
    done = command("run", str(file))
    assert (done.returncode, done.stdout) == (0, "数\n")
    missing = command("run", str(tmp_path / "missing.py"))
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("names", ["sandbox", "Sandbox", "AsyncSandbox, Session, render"])
def test_importing_the_clients_loads_no_http_library(names: str) -> None:
    loading = "import sandbox" if names == "sandbox" else f"from sandbox import {names}"
    probe = f"import sys; {loading}; print(*sorted({{'httpx', 'fastapi', 'uvicorn', 'pydantic'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
