"""Recorded solutions through the whole loop: prompt, stop, real sandbox, splice, grade."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataset.transcript import STOP, parse
from dataset.verification.outputs import same_output
from evaluator.benchmarks import BENCHMARKS
from evaluator.benchmarks.types import load
from evaluator.grade import grade
from evaluator.models.replay import ReplayModel, WordTokenizer, pieces
from evaluator.models.types import ModelError, Sampling
from evaluator.protocols import PROTOCOLS
from evaluator.solve import Transcript, solve
from sandbox import AsyncSandbox, InputError
from sandbox.render import Profile

TRAJECTORIES = Path(__file__).parents[2].parent / "shared" / "data" / "trajectories"
ASKED = 60
# what a terminal shows as colour stands in mathcoder's recorded tracebacks
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "tools", "profile"),
    [
        ("tora_code_34b.gsm8k.jsonl", True, "tora"),
        ("rho_1b.gsm8k.jsonl", True, "tora"),
        ("rho_1b.math500.jsonl", True, "tora"),
        ("mathcoder_l_7b.gsm8k.jsonl", True, "notebook"),
        ("cot/rho_1b.gsm8k.jsonl", False, "tora"),
    ],
)
def test_recorded_solutions_get_their_recorded_verdicts_and_outputs(
    run: Callable[[Any], Any], sandbox: AsyncSandbox, name: str, tools: bool, profile: Profile
) -> None:
    path = TRAJECTORIES / name
    if not path.exists():
        pytest.skip(f"{path} is not there: the recorded solutions are not part of the project")
    model = ReplayModel(path)
    problems = load(BENCHMARKS["recorded"], path)[:ASKED]

    async def everyone() -> list[Transcript]:
        places = asyncio.Semaphore(8)

        async def one(problem: Any) -> Transcript:
            async with places:
                return await solve(
                    problem,
                    sample=0,
                    style="tir" if tools else "cot",
                    model=model,
                    sandbox=sandbox,
                    protocol=replace(PROTOCOLS["default"], tool_seconds=10, profile=profile),
                    sampling=Sampling(),
                )

        return await asyncio.gather(*(one(problem) for problem in problems))

    transcripts = run(everyone())
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][:ASKED]
    verdicts = [grade(done.problem, done.text, done.left_over).verdict.correct for done in transcripts]
    if "recorded_correct" in rows[0]:
        # One of sixty may be judged otherwise than by the graders of then; the whole files are in docs/log.md.
        differing = [row["id"] for row, ours in zip(rows, verdicts, strict=True) if row["recorded_correct"] != ours]
        assert len(differing) <= 1, differing
    blocks = [
        (recorded.text.strip(), ours.text.strip())
        for done in transcripts
        for recorded, ours in zip(
            (turn for turn in model.recorded[done.problem.question.strip()] if turn.kind == "output"),
            (turn for turn in parse(done.text) if turn.kind == "output"),
            strict=True,
        )
    ]
    assert (len(blocks) >= ASKED) == tools
    unequal = [pair for pair in blocks if not same_output(_COLOUR.sub("", pair[0]), pair[1])]
    assert len(unequal) <= max(1, 0.015 * len(blocks)), unequal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("only words", ["only words"]),
        ("a\n```python\n1\n```\n```output\n1\n```\nb", [f"a\n```python\n1\n```\n{STOP}", "b"]),
        ("```python\n1\n```\n```output\n```\nb", [f"```python\n1\n```\n{STOP}", "b"]),
        ("```python\n1\n```\n```output\n1\n```", [f"```python\n1\n```\n{STOP}", ""]),
        (f"```python\n1\n```\n{STOP}", [f"```python\n1\n```\n{STOP}", ""]),
        (
            "```python\n1\n```\n```output\n1\n```\n```python\n2\n```\n```output\n2\n```\nb",
            [f"```python\n1\n```\n{STOP}", f"```python\n2\n```\n{STOP}", "b"],
        ),
    ],
)
def test_a_recording_is_cut_where_its_model_was_stopped(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


@pytest.mark.parametrize("text", ["a b", "  x\n\n y", "二加三", "a<end>b", "'\"\\`~!", "print(3 + 4)\n```", " ", ""])
def test_the_tokenizer_of_recordings_loses_nothing(text: str) -> None:
    tokenizer = WordTokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text.replace("<end>", "")


def test_a_question_that_was_not_recorded_is_our_failure(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"question": "a?", "solution": "1"}) + "\n")
    model = ReplayModel(path)
    tokens = model.chat.prompt([{"role": "user", "content": "b?\nPlease"}])
    with pytest.raises(ModelError, match="nothing is recorded for the question 'b\\?'"):
        asyncio.run(model.generate("k", tokens, max_tokens=9, tools=False, sampling=Sampling()))


def test_two_recordings_of_one_question_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text((json.dumps({"question": "a?", "solution": "1"}) + "\n") * 2)
    with pytest.raises(InputError, match=r"r\.jsonl:2: a second recording"):
        ReplayModel(path)
