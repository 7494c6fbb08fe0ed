"""No text raises in extraction or grading, and none takes long."""

from __future__ import annotations

import random
import time

import pytest

from bench import adversarial
from dataset.answers import extract
from dataset.equality import equivalent
from dataset.grading import numeric_process
from dataset.types import Problem
from tests.dataset.test_answers_kinds import ROWS
from tests.dataset.test_equality_kinds import RIGHT

SECONDS = 0.5  # of computing, of which the process apart may take its share
QUESTIONS = (
    "",
    "How many minutes?",
    "Find all values of $x$.",
    "Which? (A) 1 (B) 2x (C) no (D) 12:30",
    "求 $a$，并选择（A）是 （B）否",
)
REFERENCES = (
    "5",
    "x=2",
    "(1,2]",
    r"\frac{3}{4}",
    "C",
    "3:30",
    "3余2",
    r"\begin{cases} x & x>0 \\ 0 & x \le 0\end{cases}",
    "25%",
    "三元五角",
)


def problem(question: str) -> Problem:
    return Problem(id="p", source="s", language="en", question=question, answer=None)


@pytest.mark.parametrize("seed", range(4))
def test_adversarial_texts_neither_raise_nor_take_long(seed: int) -> None:
    equivalent(r"\cos 58^\circ", r"\sin 32^\circ")  # the process is running
    real = [text for text, *_ in ROWS] + [row[1] for rows in RIGHT.values() for row in rows]
    rng = random.Random(seed)
    for text in adversarial.texts(seed, 250, real):
        question, reference = rng.choice(QUESTIONS), rng.choice(REFERENCES)
        start = time.process_time()
        found = extract(text, problem(question))
        equivalent(reference, found, question)
        equivalent(reference, text, question)
        equivalent(text, reference, question)
        assert time.process_time() - start < 2 * SECONDS, (text[:200], len(text))


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 20_000,
        r"\boxed{5}" * 20_000,
        "0." + "0" * 100_000 + "1",
        "1" * 100_000,
        "$" * 100_000,
        "$x$" * 30_000,
        "the answer is " * 10_000,
        "答案是" * 30_000,
        "(" * 100_000,
        "[1 2;" * 20_000,
        "[[1," * 20_000,
        "3元5角" * 20_000,
        "1, 2, " * 20_000,
        "12:30 " * 20_000,
        "x = 5. " * 20_000,
        "a" * 100_000,
        "a " * 50_000,
        " " * 100_000 + "5",
        "\n" * 100_000,
        "1 000 " * 20_000,
        "三分之" * 30_000,
        "{" * 50_000 + "}" * 50_000,
        "\\" * 100_000,
        "$x=1$, " * 20_000,
        "```output\n5\n```\n" * 5_000,
        "(A) " * 20_000,
        "is " * 30_000,
        "0" * 40_000 + "/3",
        "0" * 40_000 + " apples",
        "\uff10" * 40_000 + "\uff0f3",
    ],
    ids=lambda text: repr(text[:12] + text[-2:]),
)
def test_a_long_text_takes_time_by_its_length(text: str) -> None:
    for question in ("How many?", "Find all pairs. (1) a (2) b", "Which? (A) one two (B) three four"):
        start = time.process_time()
        found = extract(text, problem(question))
        equivalent("0.5", found, question)
        equivalent("0.5", text, question)
        equivalent(text, "0.5", question)
        spent = time.process_time() - start
        assert spent < 4 * SECONDS, f"{spent:.2f} s"  # 0.05 to 0.4 s; by its square it would be minutes


def test_a_hard_comparison_is_ended_by_its_own_time() -> None:
    assert numeric_process.CPU_SECONDS < SECONDS
    assert equivalent("5", "9^{9^{9^{9}}}").correct is not True


@pytest.mark.parametrize(
    "level", ["2^{x+%s}", "x^{y+%s}", r"(1+\frac{1}{3^{%s}})^{2}", r"\sqrt{1+%s}", r"\frac{1}{1+%s}"]
)
def test_what_stands_inside_of_itself_takes_time_by_its_height(level: str) -> None:
    text = "x"
    for _ in range(18):  # the parser goes a little deeper
        text = level.replace("%s", text)
    start = time.process_time()
    equivalent("5", text)
    equivalent(text, "5")
    assert time.process_time() - start < 2 * SECONDS
