"""Intervals hold the truth, and tests find no difference where there is none: simulated, and by enumeration."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from bench.significance import coverage, difference_coverage, false_alarms, lopsided
from evaluator.significance import difference_interval, holm, mcnemar, share_interval, sign_flip, wilson

TRIALS = 2000


@pytest.mark.parametrize(("correct", "samples"), [(0, 10), (1, 10), (81, 263), (263, 263), (15, 148), (1064, 1319)])
def test_wilsons_ends_are_the_shares_from_which_the_sample_is_just_not_surprising(correct: int, samples: int) -> None:
    # The definition: |observed - p| = z * sqrt(p (1 - p) / n) at both ends, other than where they meet 0 or 1.
    observed, z = correct / samples, 1.959963984540054
    for end in wilson(correct, samples):
        assert math.isclose(abs(observed - end), z * math.sqrt(end * (1 - end) / samples), abs_tol=1e-7)


@pytest.mark.parametrize(("correct", "problems"), [(0, 30), (30, 30), (1, 30), (613, 1319)])
def test_with_one_sample_a_problem_the_interval_is_wilsons(correct: int, problems: int) -> None:
    shares = [1.0] * correct + [0.0] * (problems - correct)
    assert share_interval(shares) == pytest.approx(wilson(correct, problems))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_interval_has_a_width_where_all_is_wrong_or_all_is_right(share: float) -> None:
    low, high = share_interval([share] * 30)
    assert high - low == pytest.approx(0.1135, abs=1e-3)  # as of 30 problems with one sample each: 0 to 11.4 %
    assert difference_interval([0.0] * 30)[1] > 0.08


@pytest.mark.parametrize("problems", [30, 100, 1319])
@pytest.mark.parametrize("samples", [1, 4, 16])
def test_intervals_hold_the_truth_in_93_of_100_trials_or_more(problems: int, samples: int) -> None:
    found = coverage(problems, samples, 1000 if problems > 1000 else 2000)
    assert len(found) == 16
    assert min(found.values()) >= 0.93, found


@pytest.mark.parametrize(("problems", "samples"), [(30, 1), (30, 16), (100, 4), (1319, 16)])
def test_the_interval_of_a_difference_holds_the_truth_in_93_of_100_trials_or_more(problems: int, samples: int) -> None:
    found = difference_coverage(problems, samples, 1000)
    assert min(found.values()) >= 0.93, found


@pytest.mark.parametrize("samples", [1, 4, 16])
@pytest.mark.parametrize("spread", [0.4, 2.0])
@pytest.mark.parametrize("same", [True, False], ids=["one model twice", "two equally good models"])
def test_without_a_true_difference_p_is_below_5_percent_in_at_most_6_percent_of_trials(
    samples: int, spread: float, same: bool
) -> None:
    assert false_alarms(100, samples, spread, same, TRIALS) <= 0.06


def test_a_few_sure_problems_do_not_make_a_model_better() -> None:
    small, both = lopsided(30, 16, 0.02, 1000)
    assert small > 0.06, "the interval is not needed beside the test: say so in docs/evaluator.md"
    assert both <= 0.05


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (5, 1), (1, 5), (6, 6), (10, 3)])
def test_mcnemars_p_is_the_share_of_coin_tosses_at_least_as_uneven(only_first: int, only_second: int) -> None:
    tosses = only_first + only_second
    uneven = abs(only_first - only_second)
    outcomes = [abs(2 * sum(coins) - tosses) >= uneven for coins in product((0, 1), repeat=tosses)]
    assert math.isclose(mcnemar(only_first, only_second), sum(outcomes) / len(outcomes))


@pytest.mark.parametrize("steps", [1, 4, 16, 112, 1000])
def test_the_sign_flip_test_counts_all_combinations_of_signs(steps: int) -> None:
    rng = np.random.default_rng(steps)
    for _ in range(20):
        whole = rng.integers(-steps, steps + 1, 10)
        if steps > 256:  # finer ones are rounded to 256: the enumeration is of what is left
            whole, divisor = np.rint(whole / steps * 256).astype(int), 256
        else:
            divisor = steps
        sums = [abs(np.dot(signs, whole)) >= abs(whole.sum()) for signs in product((-1, 1), repeat=10)]
        assert sign_flip(whole / divisor, steps) == pytest.approx(np.mean(sums))


def test_many_problems_with_many_samples_are_tested_in_a_moment_and_agree_with_drawn_signs() -> None:
    rng = np.random.default_rng(0)
    differences = (rng.binomial(16, 0.52, 1319) - rng.binomial(16, 0.5, 1319)) / 16
    drawn = np.abs(rng.choice([-1.0, 1.0], (4000, 1319)) @ differences) >= abs(differences.sum()) - 1e-9
    assert sign_flip(differences, 16) == pytest.approx(drawn.mean(), abs=4 * math.sqrt(0.25 / 4000))
    assert sign_flip([1.0] * 1319, 16) == pytest.approx(0, abs=1e-300)


def test_holms_correction_is_by_the_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_of_many_equal_parts_one_is_found_different_in_at_most_6_percent_of_trials_after_the_correction() -> None:
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(TRIALS // 2):
        ps = [sign_flip((rng.binomial(4, 0.5, 40) - rng.binomial(4, 0.5, 40)) / 4, 4) for _ in range(10)]
        false += min(holm(ps)) < 0.05
    assert false / (TRIALS // 2) <= 0.06
