"""Scores of several samples a problem: avg@k, unbiased pass@k, and maj@k with votes grouped by equivalence.

pass@k is the estimator of arXiv 2107.03374: 1 - C(n-c, k) / C(n, k) for c right ones of n. In maj@k "1/2", "0.5" and
"50\\%" are one candidate, as the grader sees them; counted as strings they would split the vote. Ties go to the answer
that came first. Intervals are over problems: samples of one problem are not independent (`evaluator.significance`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from dataset.equality import equivalent
from evaluator.results import Result
from evaluator.significance import share_interval, wilson


@dataclass(frozen=True, kw_only=True)
class SampledScore:
    """Shares from 0 to 1 over `problems`, each with `samples` samples.

    `pass_at` maps k = 1, 2, 4, … up to `samples` to pass@k; `interval` is avg@k's, `majority_interval` maj@k's, 95 %.
    """

    problems: int
    samples: int
    average: float
    interval: tuple[float, float]
    pass_at: Mapping[int, float]
    majority: float
    majority_interval: tuple[float, float]


def sampled_score(results: Iterable[Result]) -> SampledScore:
    """The score of graded `results`; problems with fewer samples than others are left out.

    Raises:
        ValueError: nothing is graded.
    """
    by_problem: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.grade is not None:
            by_problem[result.problem.id].append(result)
    samples = max((len(found) for found in by_problem.values()), default=0)
    if samples == 0:
        raise ValueError("no graded results")
    whole = [sorted(found, key=lambda r: r.sample) for found in by_problem.values() if len(found) == samples]
    rights = [sum(result.correct for result in found) for found in whole]
    shares = [right / samples for right in rights]
    majorities = sum(majority(found) for found in whole)
    powers = [1 << power for power in range(samples.bit_length())]
    ks = sorted({*powers, samples})
    return SampledScore(
        problems=len(whole),
        samples=samples,
        average=fmean(shares),
        interval=share_interval(shares),
        pass_at={k: fmean(pass_at(k, samples, right) for right in rights) for k in ks if k <= samples},
        majority=majorities / len(whole),
        majority_interval=wilson(majorities, len(whole)),
    )


def pass_at(k: int, samples: int, right: int) -> float:
    """The chance that k of `samples`, drawn without putting back, hold at least one of the `right` ones."""
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def majority(results: Sequence[Result]) -> bool:
    """Whether the answer that most of `results` give is right; samples without an answer do not vote."""
    groups: list[list[Result]] = []
    for result in results:
        answer = result.grade.verdict.predicted if result.grade else None
        if answer is None:
            continue
        for group in groups:
            if _same(group[0], answer):
                group.append(result)
                break
        else:
            groups.append([result])
    return max(groups, key=len)[0].correct if groups else False


def _same(first: Result, answer: str) -> bool:
    assert first.grade is not None
    other = first.grade.verdict.predicted
    assert other is not None
    return answer == other or equivalent(other, answer, first.problem.question).correct is True
