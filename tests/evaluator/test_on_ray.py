"""`python -m evaluator run --ray`: two engines on a cluster give one engine's results, also when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dataset.types import Problem
from tests.cluster import BEGINS_SECONDS, Nodes
from tests.evaluator.tiny import PROBLEMS

pytest.importorskip("ray", reason="Ray is not installed (pip install 'soroban[ray]')")

ROOT = Path(__file__).parents[2]
ASKED = 48


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes(head_cpus=2)
    yield made
    made.cluster.shutdown()


@pytest.fixture(scope="module")
def command(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A greedy run with tools over the tiny model's problems, asked several times over."""
    path = tmp_path_factory.mktemp("problems") / "test.jsonl"
    problems = [PROBLEMS[n % len(PROBLEMS)] for n in range(ASKED)]
    rows = [asdict(problem) | {"id": f"{problem.id}/{n}"} for n, problem in enumerate(problems)]
    assert isinstance(problems[0], Problem)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        *(sys.executable, "-m", "evaluator", "run", "--model", tiny_model, "--backend", "transformers", "--quiet"),
        *("--benchmark", "demo", "--file", path, "--tools", "--new-tokens", 200, "--in-flight", 4),
    ]


def started(command: list[object], out: Path, *more: object) -> subprocess.Popen[str]:
    given = [*map(str, [*command, "--out", out, *more])]
    return subprocess.Popen(given, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(out: Path) -> list[dict[str, Any]]:
    """The samples as they were written down, without the time that each took."""
    rows = [json.loads(line) for line in (out / "demo-tools" / "results.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
        row["calls"] = [{name: value for name, value in call.items() if "seconds" not in name} for call in row["calls"]]
    return rows


def test_two_engines_give_the_results_of_one_also_when_one_of_them_dies(
    nodes: Nodes, command: list[object], tmp_path: Path
) -> None:
    alone = started(command, tmp_path / "alone")
    assert alone.communicate(timeout=BEGINS_SECONDS)[0], "no table"
    assert len(results(tmp_path / "alone")) == ASKED

    running = started(command, tmp_path / "two", "--ray", nodes.address, "--replicas", 2)
    file = tmp_path / "two" / "demo-tools" / "results.jsonl"
    deadline = time.monotonic() + BEGINS_SECONDS
    while not (file.exists() and file.read_bytes().count(b"\n") >= 4) and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    engines = nodes.workers()
    assert len(engines) == 2
    assert running.poll() is None, running.communicate()
    os.kill(engines[0], signal.SIGKILL)
    _, errors = running.communicate(timeout=BEGINS_SECONDS)
    assert running.returncode == 0, errors
    assert results(tmp_path / "two") == results(tmp_path / "alone")


def test_a_model_that_a_node_lacks_and_a_backend_without_engines_are_one_line(
    nodes: Nodes, command: list[object], tmp_path: Path
) -> None:
    words = [{"transformers": "replay"}.get(str(word), word) for word in command]
    words[words.index("--model") + 1] = words[words.index("--file") + 1]
    _, errors = started(words, tmp_path / "a", "--ray", nodes.address).communicate(timeout=BEGINS_SECONDS)
    assert "error: --ray starts engines of vllm or transformers" in errors
    _, errors = started(command, tmp_path / "b", "--ray", "127.0.0.1:9").communicate(timeout=BEGINS_SECONDS)
    assert errors.splitlines()[-1].startswith("error: --ray 127.0.0.1:9: no Ray cluster there"), errors
