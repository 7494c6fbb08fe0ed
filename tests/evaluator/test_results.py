"""The result files: torn lines, kills, other configurations, resume, regrade."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench.model_server import lasting
from dataset.files import MANIFEST
from dataset.types import Problem
from evaluator.config import RunConfig, fingerprint_model, read_config
from evaluator.models.types import Generation, ModelDied, ModelError, Sampling
from evaluator.protocols import PROTOCOLS
from evaluator.regrade import regrade
from evaluator.results import RESULTS, ResultFile, read_results
from evaluator.run import Exam, Means, run_exams
from evaluator.scores import read_run
from sandbox import AsyncSandbox, InputError
from tests.evaluator.scripted import Scripted, problem

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("SOROBAN_KILLS", "3"))  # 20 in docs/log.md
CONFIG = RunConfig(
    grader="0" * 12,
    model="m",
    model_sha256="0" * 64,
    backend="scripted",
    benchmark="demo",
    problems_sha256="1" * 64,
    style="cot",
    protocol=asdict(PROTOCOLS["default"]),
    instructions={"en": "do"},
    temperature=0.0,
    top_p=1.0,
    seed=0,
    about={"samples_expected": 6},
)
PROBLEMS = [problem(number, answer=str(number)) for number in range(6)]


def right(key: str) -> list[str]:
    return [f"$\\boxed{{{key.removeprefix('p/').partition('#')[0]}}}$"]


def take(
    folder: Path,
    model: Any,
    *,
    config: RunConfig = CONFIG,
    problems: Sequence[Problem] = PROBLEMS,
    sandbox: AsyncSandbox | None = None,
) -> int:
    means = Means(
        open_model=lambda: model,
        open_sandbox=lambda: sandbox or AsyncSandbox(),
        protocol=PROTOCOLS["default"],
        sampling=Sampling(),
        in_flight=4,
        quiet=True,
    )
    return asyncio.run(run_exams([Exam(folder=folder, config=config, problems=problems, samples=1)], means))


def test_a_finished_run_has_its_results_in_the_benchmarks_order_and_a_manifest(tmp_path: Path) -> None:
    model = Scripted(right)
    assert take(tmp_path, model) == 0
    _, results = read_results(tmp_path)
    assert [result.problem.id for result in results] == [one.id for one in PROBLEMS]
    assert all(result.correct for result in results)
    assert (tmp_path / MANIFEST).exists()
    assert model.closed


def test_a_finished_run_starts_no_model_again(tmp_path: Path) -> None:
    take(tmp_path, Scripted(right))
    again = Scripted(right)
    take(tmp_path, again)
    assert (again.fed, again.closed) == ({}, False)


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_torn_last_line_is_dropped_and_done_again(tmp_path: Path, cut: int) -> None:
    take(tmp_path, Scripted(right))
    whole = (tmp_path / RESULTS).read_bytes()
    (tmp_path / RESULTS).write_bytes(whole[:-cut])
    assert len(read_results(tmp_path)[1]) == 5
    again = Scripted(right)
    take(tmp_path, again)
    assert list(again.fed) == ["p/5#0"]
    assert len(read_results(tmp_path)[1]) == 6


def test_a_malformed_line_before_the_last_is_named_by_file_and_line(tmp_path: Path) -> None:
    take(tmp_path, Scripted(right))
    lines = (tmp_path / RESULTS).read_text().splitlines(keepends=True)
    (tmp_path / RESULTS).write_text(lines[0] + "{broken\n" + "".join(lines[1:]))
    with pytest.raises(InputError, match=r"results\.jsonl:2: not a result of ours"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_sha256": "2" * 64}, "model_sha256"),
        ({"problems_sha256": "2" * 64}, "problems_sha256"),
        ({"style": "tir"}, "style was cot, is tir"),
        ({"temperature": 0.5}, r"temperature was 0\.0, is 0\.5"),
        ({"seed": 1}, "seed"),
        ({"backend": "vllm"}, "backend was scripted, is vllm"),
        ({"protocol": asdict(PROTOCOLS["deepseekmath"])}, "protocol"),
        ({"instructions": {"en": "think"}}, r"instructions\.en was do, is think"),
        ({"top_k": 20}, "top_k was 0, is 20"),
        ({"min_p": 0.1}, "min_p"),
        ({"repetition_penalty": 1.05}, r"repetition_penalty was 1\.0, is 1\.05"),
        ({"options": {"dtype": "bfloat16"}}, r"options\.dtype was not given, is bfloat16"),
    ],
)
def test_results_of_another_configuration_are_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    take(tmp_path, Scripted(right))
    before = (tmp_path / RESULTS).read_bytes()
    with pytest.raises(InputError, match=f"another configuration.*{told}.*another --out"):
        take(tmp_path, Scripted(right), config=replace(CONFIG, **change))
    assert (tmp_path / RESULTS).read_bytes() == before


class Engine(Scripted):
    """A scripted model that says of itself what the test wants."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(right)
        self.engine = {"name": "vllm", "version": "0.32.0", "dtype": "float32", "context_tokens": 2048} | facts
        self.about = {"device": "cpu"}


@pytest.mark.parametrize(
    "facts",
    [{"version": "0.33.0"}, {"dtype": "bfloat16"}, {"context_tokens": 70}, {"commit": "abc"}, {"served": "other"}],
)
def test_a_run_goes_on_with_the_engine_data_type_and_context_that_began_it(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    assert take(tmp_path, Engine(), problems=PROBLEMS[:4]) == 0
    config = read_config(tmp_path)
    assert (config.engine["dtype"], config.about["device"]) == ("float32", "cpu")
    before = (tmp_path / RESULTS).read_bytes()
    (name,) = facts
    with pytest.raises(InputError, match=rf"another configuration \(engine\.{name} was .*, is {facts[name]}\)"):
        take(tmp_path, Engine(**facts))
    assert (tmp_path / RESULTS).read_bytes() == before
    assert take(tmp_path, Engine()) == 0
    assert len(read_results(tmp_path)[1]) == 6


def test_a_run_that_has_no_result_yet_may_go_on_with_another_engine(tmp_path: Path) -> None:
    ResultFile(tmp_path, CONFIG).close()
    assert take(tmp_path, Engine()) == 0
    assert read_config(tmp_path).key != CONFIG.key


def test_results_from_before_engine_and_sampling_were_recorded_keep_their_key() -> None:
    """The key as it was computed then, of the fields that there were then."""
    then = {name: value for name, value in asdict(CONFIG).items() if name not in ("about", "model")}
    for name in ("top_k", "min_p", "repetition_penalty", "options", "engine"):
        del then[name]
    digest = hashlib.sha256(json.dumps(then, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    assert digest[:12] == CONFIG.key


def test_a_line_of_another_configuration_is_refused(tmp_path: Path) -> None:
    take(tmp_path, Scripted(right))
    row = json.loads((tmp_path / RESULTS).read_text().splitlines()[0])
    with (tmp_path / RESULTS).open("a") as file:
        file.write(json.dumps(row | {"key": "another"}) + "\n")
    with pytest.raises(InputError, match="of configuration another"):
        read_results(tmp_path)


def test_two_processes_cannot_write_one_folder(tmp_path: Path) -> None:
    first = ResultFile(tmp_path, CONFIG)
    with pytest.raises(InputError, match="another process is writing"):
        ResultFile(tmp_path, CONFIG)
    first.close()
    ResultFile(tmp_path, CONFIG).close()


class Failing(Scripted):
    """Fails at what `fails` says, as often as it says."""

    def __init__(self, fails: dict[str, int], error: type[ModelError] = ModelError) -> None:
        super().__init__(right)
        self.fails, self.error = fails, error

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        if self.fails.get(key, 0) > 0:
            self.fails[key] -= 1
            raise self.error("the model is away")
        return await super().generate(key, tokens, max_tokens=max_tokens, tools=tools, sampling=sampling)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluator.run._PAUSES", (0.01, 0.01))


@pytest.mark.usefixtures("no_pauses")
def test_a_failure_of_ours_is_tried_again(tmp_path: Path) -> None:
    assert take(tmp_path, Failing({"p/3#0": 2})) == 0
    assert read_run(tmp_path).score.accuracy == 1


@pytest.mark.usefixtures("no_pauses")
def test_a_failure_of_ours_is_never_graded_and_leaves_the_run_without_score_until_resolved(tmp_path: Path) -> None:
    assert take(tmp_path, Failing({"p/3#0": 99})) == 1
    run = read_run(tmp_path)
    assert run.score.unscored is not None
    assert "ModelError: the model is away" in run.score.unscored
    assert [result.grade for result in run.results if result.infra_error] == [None]
    assert not (tmp_path / MANIFEST).exists()
    again = Scripted(right)
    assert take(tmp_path, again) == 0
    assert list(again.fed) == ["p/3#0"]
    assert read_run(tmp_path).score.unscored is None


def test_a_dead_model_ends_the_run_and_keeps_what_was_finished(tmp_path: Path) -> None:
    with pytest.raises(ModelDied):
        take(tmp_path, Failing({"p/5#0": 99}, ModelDied))
    again = Scripted(right)
    take(tmp_path, again)
    assert "p/5#0" in again.fed
    assert len(read_results(tmp_path)[1]) == 6


@pytest.mark.usefixtures("no_pauses")
def test_an_unreachable_sandbox_is_our_failure_not_the_models(tmp_path: Path) -> None:
    box = AsyncSandbox("http://127.0.0.1:9", patience_seconds=0.05)
    model = Scripted(["```python\nprint(1)\n```\n```output"] * 9)
    assert take(tmp_path, model, config=replace(CONFIG, style="tir"), sandbox=box) == len(PROBLEMS)
    assert all(result.grade is None for result in read_results(tmp_path)[1])


def test_missing_samples_leave_a_run_without_score(tmp_path: Path) -> None:
    take(tmp_path, Scripted(right), problems=PROBLEMS[:4])
    assert read_run(tmp_path).score.unscored == "2 of 6 samples are missing; run again to go on"


def test_regrade_judges_from_the_log_alone_and_names_what_changed(tmp_path: Path) -> None:
    take(tmp_path, Scripted(right))
    rows = [json.loads(line) for line in (tmp_path / RESULTS).read_text().splitlines()]
    rows[2]["grade"]["verdict"]["correct"] = False
    (tmp_path / RESULTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed = regrade(tmp_path)
    assert (changed.now_right, changed.now_wrong) == (("p/2#0",), ())
    assert read_run(tmp_path).score.accuracy == 1
    assert regrade(tmp_path).now_right == ()


def test_a_changed_weight_is_another_model_and_a_changed_log_is_not(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"0" * 100)
    before = fingerprint_model(str(tmp_path))
    (tmp_path / "train.log").write_text("step 1")
    (tmp_path / "tokenizer").mkdir()  # the trainer keeps what it made the tokenizer from
    assert fingerprint_model(str(tmp_path)) == before
    (tmp_path / "model.safetensors").write_bytes(b"1" + b"0" * 99)
    assert fingerprint_model(str(tmp_path)) != before


# Gone in the middle of a result line, before it or after it, with all that it started: by what it has done, not by a
# clock, so that on any machine every kill meets a run that has done something and is not done.
_DYING = """
import os, signal, sys
from evaluator import results
left, cut = int(sys.argv.pop(1)), float(sys.argv.pop(1))
def write_line(file, value, write_line=results.write_line):
    global left
    left -= file.mode == "a"
    if left == 0:
        place = file.tell()
        write_line(file, value)
        file.flush()
        os.truncate(file.name, place + int(cut * (file.tell() - place)))
        os.killpg(0, signal.SIGKILL)
    write_line(file, value)
results.write_line = write_line
from evaluator.__main__ import main
from sandbox.command import run_command
sys.exit(run_command(main))
"""


def test_a_run_killed_again_and_again_ends_with_the_file_of_one_that_was_not(tmp_path: Path) -> None:
    questions = [f"What is {n} + {n}?" for n in range(20 * KILLS)]
    recording, problems = tmp_path / "recording.jsonl", tmp_path / "problems.jsonl"
    with recording.open("w") as said, problems.open("w") as asked:
        for n, question in enumerate(questions):
            text = f"```python\nprint({n} + {n})\n```\n```output\n?\n```\nIt is $\\boxed{{{2 * n}}}$."
            said.write(json.dumps({"question": question, "solution": text}) + "\n")
            one = Problem(id=f"k/{n}", source="k", language="en", question=question, answer=str(2 * n))
            asked.write(json.dumps(asdict(one)) + "\n")

    def arguments(out: str) -> list[str]:
        flags = ["run", "--backend", "replay", "--model", str(recording), "--benchmark", "demo", "--file"]
        return [*flags, str(problems), "--tools", "--out", str(tmp_path / out), "--in-flight", "4", "--quiet"]

    def finish(out: str) -> None:
        command = [sys.executable, "-m", "evaluator", *arguments(out)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    finish("whole")
    draw = random.Random(1)
    for _ in range(KILLS):
        left, cut = str(draw.randint(1, 15)), str(draw.choice([0, draw.random(), 1]))
        command = [sys.executable, "-c", _DYING, left, cut, *arguments("killed")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, start_new_session=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    finish("killed")
    assert lasting(tmp_path / "killed") == lasting(tmp_path / "whole")
