"""Numbers from results: accuracy with its interval, what went wrong, and paired comparison of two runs.

Intervals are Wilson's (JASA 22, 1927, 95 %), comparisons McNemar's exact test on the same problems (Psychometrika 12,
1947): two accuracies on one set are not independent. A run with samples that failed for our reasons, or with samples
missing, has no score: `Score.unscored` says why.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evaluator.results import Result

_Z95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a set of results amounts to. Shares are of `samples`, from 0 to 1.

    `program_correct`: the last program's output equals the reference, whatever the text says. `undecided`: the grader
    could not decide; it counts as not correct. `tool_errors`: samples with at least one program that did not end well,
    `tool_timeouts` those among them with one out of time. `truncated`: samples that used up their tokens.
    """

    samples: int
    correct: int
    program_correct: int
    no_answer: int
    undecided: int
    with_programs: int
    tool_errors: int
    tool_timeouts: int
    truncated: int
    new_tokens: int
    programs: int
    unscored: str | None = None

    @property
    def accuracy(self) -> float:
        return self.correct / self.samples if self.samples else math.nan

    @property
    def program_accuracy(self) -> float:
        return self.program_correct / self.samples if self.samples else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.correct, self.samples)


def score(results: Sequence[Result], expected: int | None = None) -> Score:
    """The score of `results`, of which there should be `expected`."""
    failed = [result for result in results if result.infra_error is not None]
    graded = [(result, result.grade) for result in results if result.grade is not None]
    reason = None
    if failed:
        reason = f"{len(failed)} samples failed for our reasons, e.g. {failed[0].infra_error}; run again to retry them"
    elif expected is not None and len(results) < expected:
        reason = f"{expected - len(results)} of {expected} samples are missing; run again to go on"
    return Score(
        samples=len(graded),
        correct=sum(grade.verdict.correct is True for _, grade in graded),
        program_correct=sum(grade.program is not None and grade.program.correct is True for _, grade in graded),
        no_answer=sum(grade.verdict.predicted is None for _, grade in graded),
        undecided=sum(grade.verdict.correct is None for _, grade in graded),
        with_programs=sum(bool(result.calls) for result, _ in graded),
        tool_errors=sum(any(call.status != "ok" for call in result.calls) for result, _ in graded),
        tool_timeouts=sum(any(call.status == "timeout" for call in result.calls) for result, _ in graded),
        truncated=sum(result.stop == "length" for result, _ in graded),
        new_tokens=sum(result.new_tokens for result, _ in graded),
        programs=sum(len(result.calls) for result, _ in graded),
        unscored=reason,
    )


def score_by(results: Iterable[Result], group: Callable[[Result], str]) -> Mapping[str, Score]:
    """A score for each value of `group` that is not empty, in natural order: "grade 2" before "grade 10"."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if name := group(result):
            groups[name].append(result)
    return {name: score(groups[name]) for name in sorted(groups, key=_natural)}


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    parts: list[tuple[int, int, str]] = []
    for word in text.split():
        parts.append((0, int(word), "") if word.isdecimal() else (1, 0, word))
    return tuple(parts)


def wilson(correct: int, samples: int) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) where nothing was measured."""
    if samples == 0:
        return 0.0, 1.0
    share, square = correct / samples, _Z95 * _Z95
    middle = (share + square / (2 * samples)) / (1 + square / samples)
    half = _Z95 / (1 + square / samples) * math.sqrt(share * (1 - share) / samples + square / (4 * samples * samples))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two runs on the same samples: how many only the one, only the other got right, and how likely that is by chance.

    `p` is two-sided: the chance of a split at least as uneven if both were equally good.
    """

    samples: int
    only_first: int
    only_second: int
    p: float


def paired(first: Iterable[Result], second: Iterable[Result]) -> Paired:
    """McNemar's exact test over the samples that both have graded."""
    others = {(r.problem.id, r.sample): r.correct for r in second if r.grade is not None}
    pairs = [
        (r.correct, others[r.problem.id, r.sample])
        for r in first
        if r.grade is not None and (r.problem.id, r.sample) in others
    ]
    only_first = sum(one and not other for one, other in pairs)
    only_second = sum(other and not one for one, other in pairs)
    return Paired(
        samples=len(pairs), only_first=only_first, only_second=only_second, p=mcnemar(only_first, only_second)
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test: a fair coin over the samples where the two differ."""
    n = only_first + only_second
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << n))
