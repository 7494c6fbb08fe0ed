"""The public data: every gold answer against itself, the labelled pairs, the recorded runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataset.answers import extract
from dataset.equality import equivalent
from dataset.types import Problem

pytestmark = pytest.mark.real_data


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def problem(question: str) -> Problem:
    return Problem(id="p", source="s", language="en", question=question, answer=None)


def test_gsm8k_golds_are_found_and_accepted(shared: Path) -> None:
    for row in rows(shared / "benchmarks/gsm8k_test.jsonl"):
        gold = row["answer"].split("####")[1].strip()
        assert extract(row["answer"], problem(row["question"])) == gold
        assert equivalent(gold, f"{gold}.0", row["question"]).correct is True


def test_math_golds_are_found_and_accepted_in_another_dress(shared: Path) -> None:
    for row in rows(shared / "benchmarks/math_test.jsonl"):
        gold = extract(row["solution"], problem(row["problem"]))
        assert gold
        for form in (f"$ {gold} $.", f"\\boxed{{{gold}}}", f"\\displaystyle {gold}"):
            assert equivalent(gold, form, row["problem"]).correct is True, form


@pytest.mark.parametrize(("name", "field"), [("mgsm_zh", "answer"), ("cmath_test", "golden")])
def test_chinese_golds_are_found_and_accepted(shared: Path, name: str, field: str) -> None:
    for row in rows(shared / f"benchmarks/{name}.jsonl"):
        gold = row[field]
        for text in (f"所以是\\boxed{{{gold}}}。", f"答案是{gold}。", f"答：一共{gold}个。"):
            assert equivalent(gold, extract(text, problem(row["question"])), row["question"]).correct is True, text


def test_labelled_pairs_are_judged_as_labelled(shared: Path) -> None:
    wrong = {0: 0, 1: 0}
    total = {0: 0, 1: 0}
    for row in rows(shared / "grading/labelled.jsonl"):
        if row["unambiguous"]:
            correct = equivalent(row["reference"], row["prediction"], row["question"]).correct is True
            total[row["label"]] += 1
            wrong[row["label"]] += correct != bool(row["label"])
    assert wrong[1] <= 0.005 * total[1], "right answers rejected"
    assert wrong[0] <= 0.001 * total[0], "wrong answers accepted"


@pytest.mark.parametrize(
    ("name", "published"),
    [("rho_1b.gsm8k", 58.4), ("rho_1b.math500", 40.2), ("tora_code_34b.gsm8k", 80.7), ("cot/rho_1b.gsm8k", 36.2)],
)
def test_recorded_runs_get_their_published_scores(shared: Path, name: str, published: float) -> None:
    verdicts = [
        equivalent(row["reference"], extract(row["solution"], problem(row["question"])), row["question"]).correct
        for row in rows(shared / f"trajectories/{name}.jsonl")
    ]
    assert 100 * verdicts.count(True) / len(verdicts) == pytest.approx(published, abs=0.5)
