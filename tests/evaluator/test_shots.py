"""Few-shot prompts: every example right by the grader and the sandbox, and an answer that ends at the next example."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dataset.chat import ChatFormat
from dataset.transcript import parse
from evaluator.grade import grade
from evaluator.models.replay import WordTokenizer
from evaluator.models.types import Sampling
from evaluator.protocols import PROTOCOLS, check_style
from evaluator.shots import GSM8K_COT, MATH_COT, PAL
from evaluator.solve import Transcript, solve
from sandbox import AsyncSandbox, InputError
from tests.evaluator.scripted import Scripted, problem

Run = Callable[[Any], Any]
# worked out by hand, in the order of the examples
ANSWERS = {
    "gsm8k-8shot": ["15", "30", "5.5", "7.5", "25", "63", "360", "10"],
    "math-4shot": ["(2,5]", "36", "12/5", "-1/2"],
    "pal": ["15", "63", "25", "17"],
}


@pytest.fixture
def answer(run: Run, sandbox: AsyncSandbox) -> Callable[..., Transcript]:
    def go(name: str, said: str, reference: str) -> Transcript:
        protocol = PROTOCOLS[name]
        assert protocol.shots is not None
        asked = problem(answer=reference)
        coroutine = solve(
            asked,
            sample=0,
            style=protocol.shots.style,
            model=Scripted([said]),
            sandbox=sandbox,
            protocol=protocol,
            sampling=Sampling(),
        )
        done = run(asyncio.wait_for(coroutine, 30))
        assert isinstance(done, Transcript)
        return done

    return go


@pytest.mark.parametrize(
    ("name", "index"), [(name, index) for name, answers in ANSWERS.items() for index in range(len(answers))]
)
def test_every_example_is_right_and_what_follows_it_is_not_the_answer(
    answer: Callable[..., Transcript], name: str, index: int
) -> None:
    shots = PROTOCOLS[name].shots
    assert shots is not None
    reference = ANSWERS[name][index]
    worked = shots.examples[index][1]
    done = answer(name, worked + shots.ends + " what is 1 + 1?\nThe answer is 2, $\\boxed{2}$.", reference)
    assert (done.stop, done.text) == ("end", worked)
    assert grade(done.problem, done.text, done.left_over).verdict.correct is True


@pytest.mark.parametrize(("shots", "count"), [(GSM8K_COT, 8), (MATH_COT, 4), (PAL, 4)])
def test_the_prompt_shows_all_examples_and_ends_where_the_answer_begins(shots: Any, count: int) -> None:
    text = shots.prompt("  What is 3 + 4?\n")
    assert len(shots.examples) == count
    assert all(example in text for _, example in shots.examples)
    assert text.endswith(shots.frame.format(question="What is 3 + 4?"))
    assert text.count(shots.ends) == count
    assert len([turn for turn in parse(text) if turn.kind == "code"]) == (count if shots is PAL else 0)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_prompt_has_one_bos(name: str) -> None:
    ids = PROTOCOLS[name].prompt(ChatFormat(WordTokenizer()), "What is 3 + 4?", "cot", "en")
    assert (ids[0], ids.count(0)) == (0, 1)


def test_examples_of_the_other_mode_are_refused() -> None:
    with pytest.raises(InputError, match="pal shows solutions by programs: ask for --tools alone"):
        check_style(PROTOCOLS["pal"], "cot")
    with pytest.raises(InputError, match="gsm8k-8shot shows solutions in words: ask for --no-tools alone"):
        check_style(PROTOCOLS["gsm8k-8shot"], "tir")
