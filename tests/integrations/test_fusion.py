"""SandboxFusion's routes, asked by its own client and by verl's reward, unchanged."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.errors import Overloaded, SandboxUnavailable
from tests.integrations.environments import ROOT, interpreter, run_peer
from tests.sandbox.doors.conftest import serve_fake, serve_process


def test_the_client_on_pypi_finds_every_field_where_it_looks(server: str) -> None:
    run_peer("verl", "fusion_client.py", server)


def test_several_processes_answer_as_one() -> None:
    with serve_process("--workers", "2", "--processes", "2") as (_, url):
        run_peer("verl", "fusion_client.py", url)


def test_verl_scores_right_wrong_failing_and_slow_programs(server: str) -> None:
    counts = json.loads(run_peer("verl", "verl_fusion.py", server, "16", "1").splitlines()[-1])
    assert counts["below"] == 0, counts
    assert counts["samples"] >= 16


def test_a_failure_of_ours_is_tried_again_here_and_then_said_with_504(monkeypatch: pytest.MonkeyPatch) -> None:
    """504 is the one status that verl asks again for."""
    monkeypatch.setattr("sandbox.server.compat.fusion._WAIT_SECONDS", 0.5)

    async def scenario() -> None:
        async with serve_fake() as (engine, url), httpx.AsyncClient(base_url=url, timeout=30) as client:
            body = {"code": "print(1)", "language": "python", "compile_timeout": 0}
            engine.failures = [Overloaded("full", 0.01), SandboxUnavailable("a worker died")]
            assert (await client.post("/run_code", json=body)).json()["status"] == "Success"
            engine.failures = [SandboxUnavailable("none left")] * 1000
            for path, asked in (("/run_code", body), ("/run_jupyter", {"cells": ["1"]})):
                answer = await client.post(path, json=asked)
                assert answer.status_code == 504
                assert answer.json()["status"] == "SandboxError"
                assert "none left" in answer.json()["message"]

    asyncio.run(scenario())


def test_a_program_is_killed_when_its_client_goes_away() -> None:
    async def scenario() -> None:
        async with serve_fake() as (engine, url), httpx.AsyncClient(base_url=url) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/run_code", json={"code": "block", "language": "python"}, timeout=0.5)
            for _ in range(100):
                if engine.killed:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError("the program ran on")

    asyncio.run(scenario())


def test_a_token_is_the_password_in_the_address(tmp_path: Path) -> None:
    """Their clients have no place for a token; every one of them sends a password that stands in the address."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    with serve_process("--workers", "1", "--token-file", str(token)) as (_, url):
        body = {"code": "print(1)", "language": "python"}
        assert httpx.post(url + "/run_code", json=body).status_code == 401
        assert httpx.post(url.replace("//", "//any:wrong@") + "/run_code", json=body).status_code == 401
        assert httpx.post(url.replace("//", "//any:s3cret@") + "/run_code", json=body).status_code == 200
        assert httpx.get(url + "/v1/ping").json() == "pong"
        asked = "import sys, sandbox_fusion as f; f.set_endpoint(sys.argv[1]); "
        asked += "print(f.run_code(f.RunCodeRequest(code='print(6)', language='python')).run_result.stdout)"
        command = [str(interpreter("verl")), "-c", asked, url.replace("//", "//any:s3cret@")]
        assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == "6\n\n"


@pytest.fixture
def relay() -> Iterator[tuple[int, str]]:
    """The port that a server is to have, and the address of a relay to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sandbox", "relay", "--to", f"http://127.0.0.1:{port}", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield port, process.stderr.readline().split("listening on ")[1].split(" ")[0]
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


def test_verl_scores_no_sample_zero_when_the_server_behind_a_relay_is_killed_twice(relay: tuple[int, str]) -> None:
    port, url = relay
    with serve_process("--workers", "2", "--port", str(port)) as (server, _):
        peer = Path(__file__).parent / "peers" / "verl_fusion.py"
        scoring = subprocess.Popen(
            [str(interpreter("verl")), str(peer), url, "64", "6"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert scoring.stdout is not None
        assert scoring.stdout.readline() == "ready\n", scoring.stderr and scoring.stderr.read()
        time.sleep(1.5)
        server.send_signal(signal.SIGKILL)
        server.wait(30)
    with serve_process("--workers", "2", "--port", str(port)) as (server, _):
        time.sleep(1.5)
        server.send_signal(signal.SIGKILL)
        server.wait(30)
    with serve_process("--workers", "2", "--port", str(port)):
        output, _ = scoring.communicate(timeout=120)
    counts = json.loads(output.splitlines()[-1])
    assert counts["below"] == 0, counts
    assert counts["samples"] > 64
