"""avg@k, pass@k and maj@k against counting by hand."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest

from dataset.types import Verdict
from evaluator.grade import Grade
from evaluator.results import Result
from evaluator.votes import majority, pass_at, sampled_score
from tests.evaluator.scripted import problem


def answered(number: int, sample: int, predicted: str | None, correct: bool) -> Result:
    verdict = Verdict(correct=correct, rule="test", reference="1/2", predicted=predicted)
    return Result(
        key="k",
        problem=problem(number, answer="1/2"),
        sample=sample,
        grade=Grade(verdict=verdict, program=None, answer_from="text"),
    )


@pytest.mark.parametrize(("samples", "right"), [(n, right) for n in (1, 4, 6) for right in range(n + 1)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(samples: int, right: int) -> None:
    for k in range(1, samples + 1):
        draws = list(combinations(range(samples), k))
        assert pass_at(k, samples, right) == pytest.approx(fmean(min(draw) < right for draw in draws))


@pytest.mark.parametrize(
    ("answers", "right"),
    [
        pytest.param([("3", 0), ("1/2", 1), ("0.5", 1), ("3", 0), ("\\frac{1}{2}", 1)], True, id="by equivalence"),
        pytest.param([("3", 0), ("1/2", 1), ("3", 0)], False, id="the wrong ones are more"),
        pytest.param([("1/2", 1), ("3", 0)], True, id="a tie goes to the first"),
        pytest.param([("3", 0), ("1/2", 1)], False, id="a tie goes to the first, be it wrong"),
        pytest.param([(None, 0), (None, 0), ("1/2", 1)], True, id="who has no answer does not vote"),
        pytest.param([(None, 0)], False, id="nobody votes"),
    ],
)
def test_the_majority_is_of_answers_not_of_strings(answers: list[tuple[str | None, int]], right: bool) -> None:
    results = [answered(0, sample, text, bool(correct)) for sample, (text, correct) in enumerate(answers)]
    assert majority(results) is right


def test_problems_count_equally_and_those_not_finished_are_left_out() -> None:
    results = [answered(0, s, "1/2", True) for s in range(4)] + [answered(1, s, "3", False) for s in range(4)]
    found = sampled_score([*results, answered(2, 0, "1/2", True)])
    assert (found.problems, found.samples, found.average, found.majority) == (2, 4, 0.5, 0.5)
    assert found.pass_at == {1: 0.5, 2: 0.5, 4: 0.5}


@pytest.mark.parametrize("right", [False, True])
def test_intervals_of_the_average_and_of_the_majority_are_those_of_problems_and_never_empty(right: bool) -> None:
    """Thirty problems of eight samples each, all alike: as sure as thirty samples, not as 240, nor as of nothing."""
    results = [answered(n, s, "1/2" if right else "3", right) for n in range(30) for s in range(8)]
    found = sampled_score(results)
    for low, high in (found.interval, found.majority_interval):
        assert (low, high) == pytest.approx((0.8865, 1) if right else (0, 0.1135), abs=1e-3)
