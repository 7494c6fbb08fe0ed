"""Numbers from results: accuracy with its interval, what went wrong, parts, and two runs paired problem by problem.

A problem is the unit of every interval and test, also with several samples of each (see `evaluator.significance`). A
run with samples that failed for our reasons, or with samples missing, has no score: `Score.unscored` says why.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.benchmarks import BENCHMARKS
from evaluator.config import RunConfig
from evaluator.results import Result, read_results
from evaluator.significance import difference_interval, mcnemar, share_interval, sign_flip, wilson

__all__ = ["PARTS", "Paired", "Run", "Score", "mcnemar", "paired", "read_run", "score", "score_by", "wilson"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a set of results amounts to. Shares are of `samples`, from 0 to 1.

    `interval`: the 95 % interval of the accuracy, over problems.
    `program_correct`: the last program's output equals the reference, whatever the text says. `undecided`: the grader
    could not decide; it counts as not correct. `tool_errors`: samples with at least one program that did not end well,
    `tool_timeouts` those among them with one out of time. `truncated`: samples that used up their tokens.
    """

    samples: int
    correct: int
    interval: tuple[float, float]
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


def score(results: Sequence[Result], expected: int | None = None) -> Score:
    """The score of `results`, of which there should be `expected`."""
    failed = [result for result in results if result.infra_error is not None]
    graded = [(result, result.grade) for result in results if result.grade is not None]
    shares = [sum(found) / len(found) for found in _rights(results).values()]
    reason = None
    if failed:
        reason = f"{len(failed)} samples failed for our reasons, e.g. {failed[0].infra_error}; run again to retry them"
    elif expected is not None and len(results) < expected:
        reason = f"{expected - len(results)} of {expected} samples are missing; run again to go on"
    return Score(
        samples=len(graded),
        correct=sum(grade.verdict.correct is True for _, grade in graded),
        interval=share_interval(sorted(shares)),
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


def _rights(results: Iterable[Result]) -> dict[str, list[bool]]:
    """Which of the graded samples of each problem are right, in the samples' order."""
    found: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for result in results:
        if result.grade is not None:
            found[result.problem.id].append((result.sample, result.correct))
    return {problem: [right for _, right in sorted(several)] for problem, several in found.items()}


def score_by(results: Iterable[Result], group: Callable[[Result], str]) -> Mapping[str, Score]:
    """A score for each value of `group` that is not empty, in natural order: "grade 2" before "grade 10"."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if name := group(result):
            groups[name].append(result)
    return {name: score(groups[name]) for name in sorted(groups, key=natural)}


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key to sort by: numbers in a text as numbers."""
    parts: list[tuple[int, int, str]] = []
    for word in text.split():
        parts.append((0, int(word), "") if word.isdecimal() else (1, 0, word))
    return tuple(parts)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two runs on the same problems. Shares are means over `problems`, from 0 to 1; difference: second less first.

    `samples`: how many of each problem count. `won` and `lost`: the problems of which the second run has a larger, a
    smaller share right. `p` is two-sided, of the paired permutation test over problems (McNemar's with one sample).
    """

    problems: int
    samples: int
    first: float
    second: float
    interval: tuple[float, float]
    won: Sequence[str]
    lost: Sequence[str]
    p: float

    @property
    def difference(self) -> float:
        return self.second - self.first

    @property
    def better(self) -> bool | None:
        """Whether the second run is better (False: worse); None where that is not shown.

        Both the test and the interval must say so: where a few problems carry the whole difference, they may differ.
        """
        low, high = self.interval
        if self.p >= 0.05 or low <= 0 <= high:
            return None
        return self.difference > 0


def paired(first: Iterable[Result], second: Iterable[Result]) -> Paired:
    """The graded samples of the problems that both have, problem by problem.

    Of a problem with more samples in one run the first so many count: with unequal numbers the signs of the
    differences are no fair coins (1 sample against 16 gave p < 0.05 in 15 % of trials without a true difference).
    """
    return paired_rights(_rights(first), _rights(second))


def paired_rights(first: Mapping[str, Sequence[bool]], second: Mapping[str, Sequence[bool]]) -> Paired:
    """`paired` of what was right in either run, by problem."""
    counts = {problem: min(len(rights), len(second.get(problem, ()))) for problem, rights in first.items()}
    counts = {problem: count for problem, count in counts.items() if count}
    shares = {
        problem: (sum(first[problem][:count]) / count, sum(second[problem][:count]) / count)
        for problem, count in counts.items()
    }
    differences = [two - one for one, two in shares.values()]
    n = len(shares) or 1
    return Paired(
        problems=len(shares),
        samples=max(counts.values(), default=0),
        first=math.fsum(one for one, _ in shares.values()) / n,
        second=math.fsum(two for _, two in shares.values()) / n,
        interval=difference_interval(differences),
        won=[problem for problem, (one, two) in shares.items() if two > one],
        lost=[problem for problem, (one, two) in shares.items() if two < one],
        p=sign_flip(differences, math.lcm(*set(counts.values()))),
    )


# What the parts are called, and how a benchmark's problems fall into them; CMATH's subjects are its reasoning steps.
PARTS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("level", lambda result: result.problem.level),
    ("subject", lambda result: result.problem.subject),
    ("language", lambda result: result.problem.language),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The results of one folder and their score."""

    folder: Path
    config: RunConfig
    results: Sequence[Result]
    score: Score

    @property
    def mode(self) -> str:
        return "tools" if self.config.tools else "none"

    @property
    def partial(self) -> bool:
        """Whether it was measured on fewer problems than the benchmark has."""
        rows = BENCHMARKS[self.config.benchmark].rows if self.config.benchmark in BENCHMARKS else None
        return rows is not None and len({result.problem.id for result in self.results}) < rows


def read_run(folder: Path) -> Run:
    """The run in `folder`.

    Raises:
        InputError: no results of ours there.
    """
    config, results = read_results(folder)
    expected = config.about.get("samples_expected")
    return Run(folder=folder, config=config, results=results, score=score(results, expected))
