"""Two sandbox servers, one of them killed (-9) in the middle of a run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from dataset.transcript import STOP
from evaluator.models.types import Generation
from evaluator.results import read_results
from sandbox import AsyncSandbox
from tests.evaluator.scripted import Scripted, problem
from tests.evaluator.test_openai import when_done
from tests.evaluator.test_results import CONFIG, take

ROOT = Path(__file__).parents[2]
PROBLEMS = [problem(n, answer=str(2 * n)) for n in range(30)]
TOKEN = "for-the-tests-only"


@dataclass(frozen=True)
class Sandboxes:
    urls: list[str]
    processes: list[subprocess.Popen[bytes]]

    def kill(self, index: int) -> None:
        os.killpg(self.processes[index].pid, signal.SIGKILL)
        self.processes[index].wait()


@pytest.fixture
def servers() -> Iterator[Sandboxes]:
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    command = [sys.executable, "-m", "sandbox", "serve", "--host", "127.0.0.1", "--workers", "1", "--port"]
    environment = os.environ | {"SOROBAN_SANDBOX_TOKEN": TOKEN}
    started = Sandboxes(
        [f"http://127.0.0.1:{port}" for port in ports],
        [subprocess.Popen([*command, str(port)], cwd=ROOT, env=environment, start_new_session=True) for port in ports],
    )
    try:
        for url in started.urls:
            until = time.monotonic() + 200
            while time.monotonic() < until:
                try:
                    if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                        break
                except httpx.HTTPError:
                    time.sleep(0.1)
        yield started
    finally:
        for process in started.processes:
            if process.poll() is None:
                process.terminate()
                process.wait()


class FromTheText(Scripted):
    """Says what follows what stands there, so that a solution may begin again."""

    async def generate(self, key: str, tokens: Sequence[int], **options: Any) -> Generation:
        outputs = self.chat.tokenizer.decode(tokens).count(STOP)  # type: ignore[attr-defined]
        self.fed[key] = self.fed.get(key, [])[:outputs]
        return await super().generate(key, tokens, **options)


def test_a_sandbox_replica_that_dies_mid_run_costs_no_answer(servers: Sandboxes, tmp_path: Path) -> None:
    def lines(key: str) -> list[str]:
        number = int(key.removeprefix("p/").partition("#")[0])
        first = f"```python\nimport time\ntime.sleep(0.1)\nx = {number}\n```\n{STOP}"
        return [first, f"```python\nprint(2 * x)\n```\n{STOP}", f"$\\boxed{{{2 * number}}}$"]

    killer = when_done(tmp_path, 6, lambda: servers.kill(0))
    box = AsyncSandbox(servers.urls, token=TOKEN, patience_seconds=200)
    config = replace(CONFIG, style="tir", about={"samples_expected": len(PROBLEMS)})
    failed = take(tmp_path, FromTheText(lines), config=config, problems=PROBLEMS, sandbox=box)
    killer.join()
    assert servers.processes[0].returncode == -signal.SIGKILL
    results = read_results(tmp_path)[1]
    assert (failed, len(results)) == (0, len(PROBLEMS))
    assert all(result.correct for result in results)
    # State is never made up: a solution whose session died began again from its first program.
    assert all([call.status for call in result.calls] == ["ok", "ok"] for result in results)
