"""GRPO as a command: what it samples, how it goes on after a kill, and what it says of bad input."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dataset.chat import ChatFormat
from dataset.transcript import splice
from dataset.types import Problem
from evaluator.grade import grade
from evaluator.solve import Transcript
from improve.__main__ import main
from improve.config import GrpoConfig, same_learning
from improve.explore import Explorer, Rollout, judge, scores
from integrations.reward import Weights
from sandbox.errors import InputError
from trainer.log import read_log

torch.set_num_threads(1)


def flags(unsure: Path, out: Path, *more: str) -> list[str]:
    """A run of a second or two an update: 3 problems x 6 solutions."""
    given = (
        f"grpo --model {unsure}/model --problems {unsure}/problems.jsonl --out {out} --backend transformers "
        "--problems-per-update 3 --samples 6 --new-tokens 96 --row-tokens 384 --learning-rate 1e-3 --threads 1 "
        "--updates 3 --checkpoint-every 2"
    )
    return [*given.split(), *more]


def rollouts(out: Path) -> list[Rollout]:
    files = sorted((out / "rollouts").iterdir())
    return [Rollout(**json.loads(line)) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def done(unsure: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run."""
    out = tmp_path_factory.mktemp("grpo") / "out"
    assert main(flags(unsure, out)) == 0
    return out


def test_tokens_are_those_that_were_sampled_and_a_tools_output_was_not_drawn(done: Path, unsure: Path) -> None:
    chat = ChatFormat(AutoTokenizer.from_pretrained(unsure / "model"))
    found = rollouts(done)
    assert len(found) == 3 * 18
    with_tool = 0
    for rollout in found:
        stretches = [rollout.tokens[begin:end] for begin, end in rollout.drawn]
        assert sum(map(len, stretches)) == rollout.new_tokens == sum(rollout.mask)
        # What is between the stretches is what the tool printed, tokenised by itself.
        for (_, end), (begin, _) in zip(rollout.drawn, rollout.drawn[1:], strict=False):
            printed = chat.decode(rollout.tokens[end:begin])
            assert printed.startswith("\n")
            assert chat.piece(splice(printed[1:].removesuffix("\n```\n"))) == rollout.tokens[end:begin]
            with_tool += 1
        answer = rollout.tokens[rollout.drawn[0][0] :]
        assert chat.decode(answer).removeprefix(chat.lead_in) == rollout.text
    assert with_tool > 10


def test_the_log_says_what_a_user_watches(done: Path) -> None:
    records = read_log(done)
    assert [record["step"] for record in records] == [1, 2, 3]
    for record in records:
        assert 0 < record["reward"] == record["pass_rate"] < 1
        assert set(record["parts"]) == {"score", "correct", "format", "tool_use"}
        assert record["entropy"] > 0
        assert record["gradient_norm"] > 0
        assert record["learned_tokens"] > record["sampled_tokens"] > 0
        assert (record["clipped"], record["staleness"], record["skipped"]) == (0, 0, "")
    assert records[0]["kl"] == pytest.approx(0, abs=1e-7)
    assert records[2]["kl"] > 1e-4


def test_solutions_are_learned_at_the_temperature_that_they_were_sampled_at(unsure: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(flags(unsure, out, "--temperature", "1.25", "--updates", "1", "--samples", "24")) == 0
    model = AutoModelForCausalLM.from_pretrained(unsure / "model")
    surprise, entropy = [], []
    for rollout in rollouts(out):
        with torch.no_grad():
            logits = model(torch.tensor([rollout.tokens])).logits[0].double()
        logp = (logits / 1.25).log_softmax(-1)
        for place in (place for place, drawn in enumerate(rollout.mask) if drawn):
            surprise.append(-logp[place - 1, rollout.tokens[place]])
            entropy.append(-(logp[place - 1].exp() * logp[place - 1]).sum())
    # Learned at it: the update's own numbers. Sampled at it: then what was drawn is on average as unlikely as the
    # entropy says, which at another temperature it is not (at 1: 0.4 of it).
    (record,) = read_log(out)
    assert record["entropy"] == pytest.approx(float(np.mean(surprise)), rel=1e-4)
    assert np.mean(surprise) == pytest.approx(float(np.mean(entropy)), rel=0.15)


def test_the_model_is_another_and_the_same_command_has_nothing_left_to_do(
    done: Path, unsure: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (unsure / "model", done))
    assert max(float((after[name].float() - before[name]).abs().max()) for name in after) > 1e-3
    manifest = json.loads((done / "manifest.json").read_text())
    assert (manifest["stage"], manifest["rows_out"]) == ("grpo", 3)
    assert main(flags(unsure, done)) == 0
    assert "already learned" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"learning_rate 0\.001 -> 0\.002"):
        main(flags(unsure, done, "--learning-rate", "0.002"))


# One request a batch: what else waits must not change a logit's last bit, nor the threads of a busy machine.
_CHILD = """
import os, signal, sys
import evaluator.models.transformers
evaluator.models.transformers._BATCH = 1
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def dies_at(module, name, call):
    calls, inner = [], getattr(module, name)
    def counting(*arguments, **named):
        calls.append(0)
        if len(calls) == call:
            die()
        return inner(*arguments, **named)
    setattr(module, name, counting)
exec(first)
from improve.__main__ import main
log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1); os.dup2(log, 2)
sys.stdout = open(1, "w", closefd=False)
code = main(argv)
sys.stdout.flush()
os._exit(code)
"""
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["trainer.train"])


def run_child(argv: Sequence[str], output: Path, first: str = "") -> int | None:
    process = _CONTEXT.Process(target=exec, args=(_CHILD, {"argv": argv, "output": str(output), "first": first}))
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def unbroken(unsure: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert run_child(flags(unsure, folder / "out"), folder / "output") == 0, (folder / "output").read_text()
    return folder / "out"


KILLS = {
    "while it samples the first update": "import improve.explore; dies_at(improve.explore, 'write_line', 7)",
    "while it samples the third": "import improve.explore; dies_at(improve.explore, 'write_line', 2 * 18 + 5)",
    "in the second update": "import trainer.grpo; dies_at(trainer.grpo, 'take_step', 2)",
    "between two updates": "import improve.grpo; dies_at(improve.explore.Explorer, 'teach', 3)",
    "in its checkpoint": "import trainer.checkpoint; dies_at(trainer.checkpoint.os, 'replace', 9)",
}


@pytest.mark.parametrize("when", KILLS)
def test_killed_it_goes_on_bit_for_bit(when: str, unsure: Path, unbroken: Path, tmp_path: Path) -> None:
    out, output = tmp_path / "out", tmp_path / "output"
    assert run_child(flags(unsure, out), output, KILLS[when]) == -9, output.read_text()
    assert run_child(flags(unsure, out), output) == 0, output.read_text()
    found, wanted = (load_file(folder / "model.safetensors") for folder in (out, unbroken))
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    order = [sorted(rollouts(folder), key=lambda one: (one.problem, one.sample)) for folder in (out, unbroken)]
    assert [one.tokens for one in order[0]] == [one.tokens for one in order[1]]


PROBLEM = Problem(id="p", source="s", language="en", question="What is 3 + 4?", answer="7")
SOLUTIONS = {
    "right": ("```python\nprint(3 + 4)\n```\n```output\n7\n```\nThe answer is $\\boxed{7}$.", None, (1, 1, 1)),
    "wrong": ("```python\nprint(3 + 5)\n```\n```output\n8\n```\nThe answer is $\\boxed{8}$.", None, (0, 1, 1)),
    "right, no box": ("The answer is 7.", None, (1, 0, 0)),
    "right by an output that it did not read": ("```python\nprint(3 + 4)\n```\n", "7", (1, 0, 1)),
    "its program raised": (
        "```python\nx\n```\n```output\nNameError: name 'x' is not defined\n```\n$\\boxed{7}$", None, (1, 1, 0)
    ),
    "nothing": ("I do not know.", None, (0, 0, 0)),
    "only thought of": ("<think>$\\boxed{7}$</think>It is $\\boxed{8}$.", None, (0, 1, 0)),
    "never closed": ("It is $\\boxed{7}$.\n```python\nprint(", None, (1, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_reward_is_the_exams_verdict_with_parts(name: str) -> None:
    text, left_over, parts = SOLUTIONS[name]
    found = judge(PROBLEM, transcript_of(text, left_over), Weights(correct=1.0, format=0.2, tool_use=0.1))
    assert found is not None
    assert found.correct == bool(grade(PROBLEM, text, left_over).verdict.correct)
    assert (found.correct, found.format, found.tool_use) == parts
    assert found.score == pytest.approx(parts[0] + 0.2 * parts[1] + 0.1 * parts[2])


def transcript_of(text: str, left_over: str | None) -> Transcript:
    return Transcript(
        problem=PROBLEM, sample=0, text=text, stop="end", calls=(), left_over=left_over, prompt_tokens=1, new_tokens=1,
        shown_tokens=0, seconds=0.0, tokens=[0, 1], sampled=[False, True],
    )  # fmt: skip


def test_our_failures_are_no_rewards_their_problem_is_left_out_and_counted(
    unsure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import improve.explore
    from improve.problems import read_problems

    real = improve.explore.attempt

    async def fails_once(problem: Problem, **rest: Any) -> Any:
        if problem.id == "tiny/1" and rest["sample"] == 4:
            return "SandboxError: the sandbox is gone"
        return await real(problem, **rest)

    monkeypatch.setattr(improve.explore, "attempt", fails_once)
    config = GrpoConfig(
        model=str(unsure / "model"), problems=unsure / "problems.jsonl", out=tmp_path, problems_per_update=3, samples=6,
        new_tokens=96, row_tokens=384, backend="transformers",
    )  # fmt: skip
    with Explorer(config, read_problems(config.problems)) as explorer:
        found = explorer.explore(0)
        again = explorer.explore(0)
    assert found.left_out == 1
    assert sorted(group[0].problem for group in found.groups) == ["tiny/0", "tiny/2"]
    assert all(rollout.parts is not None for group in found.groups for rollout in group)
    assert (found.sampled_now, again.sampled_now) == (18, 0)
    assert again.groups == found.groups
    assert [rollout.failure for rollout in rollouts(tmp_path) if rollout.parts is None] == [
        "SandboxError: the sandbox is gone"
    ]


def test_the_control_gives_the_same_rewards_to_other_solutions() -> None:
    groups = [[Rollout(problem=str(p), sample=s, parts={"score": float(p * 10 + s)}) for s in range(4)] for p in (1, 2)]
    plain, shuffled = scores(groups), scores(groups, shuffled="0 0")
    assert plain == [[10, 11, 12, 13], [20, 21, 22, 23]]
    assert sorted(one for group in shuffled for one in group) == [10, 11, 12, 13, 20, 21, 22, 23]
    assert shuffled != plain
    assert shuffled == scores(groups, shuffled="0 0")


BAD: dict[str, tuple[list[str], str]] = {
    "an engine that cannot take weights": (["--backend", "replay"], "replay cannot be given new weights; expected one"),
    "a server's model": (["--backend", "openai"], "Give --url|cannot be given new weights"),
    "no such problems": (["--problems", "/no/such.jsonl"], "no such file; `python -m dataset build` writes one"),
    "a reward that is not finite": (["--correct", "inf"], "expected finite numbers, not all 0"),
    "no reward": (["--correct", "0"], "expected finite numbers, not all 0"),
    "a group of one": (["--samples", "1"], "--samples is 1, expected at least 2"),
    "a divergence that is no number": (["--kl", "nan"], "--kl is nan, expected at least 0"),
    "solutions longer than a row": (["--row-tokens", "96"], "expected less than --row-tokens 96"),
    "more steps than problems": (["--steps", "4"], "--steps is 4, expected at most --problems-per-update"),
    "no such model": (["--model", "/no/such"], "no such model folder"),
    "an unknown flag": (["--lr", "1"], "unrecognized arguments: --lr 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_before_anything_is_sampled(name: str, unsure: Path, tmp_path: Path) -> None:
    given, said = BAD[name]
    with pytest.raises(InputError, match=said) as caught:
        main(flags(unsure, tmp_path / "out", *given))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "rollouts").exists()


def test_problems_that_are_always_or_never_solved_are_one_line_after_the_first_exploration(
    unsure: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (unsure / "problems.jsonl").read_text(encoding="utf-8").splitlines()]
    path = tmp_path / "never.jsonl"
    path.write_text("".join(json.dumps(row | {"answer": "123456789"}) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        main(flags(unsure, tmp_path / "out", "--problems", str(path)))
    assert "no problem has solutions of different rewards (0% of the solutions are right)" in str(caught.value)
    assert "raise --samples" in str(caught.value)


def test_too_little_memory_for_the_reference_is_one_line_that_names_it(
    unsure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.preflight._available_bytes", lambda: 1000)
    with pytest.raises(InputError, match="for the reference \\(--kl 0: none\\)"):
        main(flags(unsure, tmp_path / "out"))
    assert not (tmp_path / "out" / "rollouts").exists()


def test_redraws_fill_an_update_with_problems_that_have_a_signal(
    unsure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from improve.problems import read_problems

    rows = [json.loads(line) for line in (unsure / "problems.jsonl").read_text(encoding="utf-8").splitlines()]
    never = [row | {"id": f"never/{n}", "answer": "123456789"} for n in range(3) for row in rows[:1]]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*never, *rows]), encoding="utf-8")
    config = GrpoConfig(
        model=str(unsure / "model"), problems=path, out=tmp_path / "out", problems_per_update=2, samples=8, redraws=5,
        new_tokens=96, row_tokens=384, backend="transformers",
    )  # fmt: skip
    with Explorer(config, read_problems(path)) as explorer:
        groups = explorer.explore(0).groups
    solved = [group[0].problem for group in groups if not group[0].problem.startswith("never")]
    assert len(solved) == 2
    assert len(set(solved)) == 2


def test_a_longer_run_of_a_constant_rate_goes_on_and_any_other_change_is_named() -> None:
    base = {"updates": 3, "schedule": "constant", "kl": 0.04, "threads": 1}
    assert same_learning(base, base | {"updates": 5, "threads": 2}) == []
    assert same_learning(base, base | {"updates": 2}) == ["updates 3 -> 2"]
    assert same_learning(base | {"schedule": "linear"}, base | {"schedule": "linear", "updates": 5}) != []
    assert same_learning(base, base | {"kl": 0.0}) == ["kl 0.04 -> 0.0"]
