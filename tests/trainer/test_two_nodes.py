"""`docs/scale/node.sh` as two nodes of this machine, two processes each: one dies, all begin again, no loss differs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import descendants
from trainer import checkpoint

Run = Callable[..., str]
ROOT = Path(__file__).parents[2]
STEPS = 24


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def start_node(folder: Path, port: int, flags: list[str]) -> subprocess.Popen[bytes]:
    """A node with a working folder of its own."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    environment |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [str(ROOT / "docs" / "scale" / "node.sh"), f"127.0.0.1:{port}", "2", "2", *flags]
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


def kill(node: subprocess.Popen[bytes]) -> None:
    """All at once, as a machine dies: torchrun's processes are in sessions of their own and would go on without it."""
    for pid in (*descendants(node.pid), node.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


def until(condition: Callable[[], object], *nodes: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        assert all(node.poll() is None for node in nodes), [node.poll() for node in nodes]
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_a_job_that_loses_a_node_and_is_started_again_has_the_losses_of_one_process(
    small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    flags = [*small_run, "--steps", str(STEPS), "--batch-rows", "8", "--micro-rows", "2"]
    run_trainer([*flags, "--out", str(tmp_path / "alone")])
    out = tmp_path / "shared" / "out"
    flags += ["--out", str(out), "--rendered", str(tmp_path / "shared" / "rendered")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = [tmp_path / "first", tmp_path / "second"]
    nodes = [start_node(folders[0], port, flags)]
    try:
        until(lambda: listens(port), *nodes)
        nodes.append(start_node(folders[1], port, flags))
        until(lambda: checkpoint.complete(out / "checkpoints"), *nodes)
        kill(nodes[1])
        assert len(log(out)) < STEPS, "it was over already"
        kill(nodes[0])  # as a cluster's manager ends what is left of a job before it starts the job again
        nodes = [start_node(folders[0], port, flags)]
        until(lambda: listens(port), *nodes)
        nodes.append(start_node(folders[1], port, flags))
        assert [node.wait(200) for node in nodes] == [0, 0], [(each / "output").read_text() for each in folders]
    finally:
        for node in nodes:
            if node.poll() is None:
                kill(node)
    assert "going on after step" in (folders[0] / "output").read_text()
    for one, other in zip(log(tmp_path / "alone"), log(out), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-5)
