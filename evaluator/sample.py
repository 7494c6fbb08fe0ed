"""From a teacher to training data: the same loop over training problems, its right and distinct solutions kept.

    python -m evaluator sample --problems data/gsm8k/problems.jsonl --model TEACHER --samples 8 --style tir --out DIR

DIR holds the transcripts as any run does, and `candidates.jsonl`, which `python -m dataset verify` takes. A solution is
kept if its answer equals the reference, its turns read back as they were written, its programs ran, and no other kept
solution of the problem is the same but for white space; at most `keep` a problem, the shortest first, or at random:
the shortest teach to be short. Problems without a reference keep theirs for `verify` to judge. Problems that are always
solved, or never, can be left out, and solutions that an earlier sampling kept.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dataset.files import read_jsonl, write_line, written_whole
from dataset.transcript import render, tidy
from dataset.types import Solution, Style, Turn, solution_from_json, solution_to_json
from evaluator.grade import solution_turns
from evaluator.results import Result

CANDIDATES = "candidates.jsonl"


@dataclass(frozen=True, kw_only=True)
class Yield:
    """What a sampling brought: samples by what became of them, and (kept, asked) problems by subject."""

    kept: int
    dropped: Mapping[str, int]
    problems: Mapping[str, tuple[int, int]]
    new_tokens: int

    def lines(self) -> list[str]:
        """The report as a user reads it."""
        total = self.kept + sum(self.dropped.values())
        found = [f"kept {self.kept} of {total} samples; {self.new_tokens:,} tokens generated"]
        if self.kept:
            found[0] += f", {self.new_tokens / self.kept:,.0f} for each that was kept"
        found += [f"  {count:6} dropped: {reason}" for reason, count in sorted(self.dropped.items())]
        found += [
            f"  {solved:6} of {asked} problems have a solution: {subject or 'no subject given'}"
            for subject, (solved, asked) in sorted(self.problems.items())
        ]
        return found


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of the right solutions are kept.

    Attributes:
        keep: of a problem, at most.
        order: which ones, if there are more.
        seed: of the random order.
        rates: the least and the largest share of right samples of a problem whose solutions are kept.
        known: solutions of `read_known` that are not kept again.
    """

    keep: int = 4
    order: Literal["shortest", "random"] = "shortest"
    seed: int = 0
    rates: tuple[float, float] = (0.0, 1.0)
    known: frozenset[tuple[str, str]] = frozenset()

    def sorted(self, results: Sequence[Result]) -> list[Result]:
        """The samples of one problem in the order in which they are kept."""
        by_length = sorted(results, key=lambda one: (one.new_tokens, one.sample))
        if self.order == "random":
            random.Random(f"{self.seed} {results[0].problem.id}").shuffle(by_length)
        return by_length


def read_known(files: Iterable[Path]) -> frozenset[tuple[str, str]]:
    """(problem, text without white space) of each solution in `files`, as `write_candidates` or `verify` wrote them."""
    rows = (solution_from_json(row) for path in files for _, row in read_jsonl(path))
    return frozenset((solution.problem.id, _bare(solution.turns)) for solution in rows)


def _bare(turns: Sequence[Turn]) -> str:
    return "".join(render(turns).split())


def write_candidates(
    folder: Path, results: Sequence[Result], *, style: Style, run: str, choice: Choice = Choice()
) -> Yield:
    """Write the kept solutions among `results` to `candidates.jsonl` in `folder`, whole or not at all.

    `run` names the sampling (`RunConfig.key`) and stands in the solutions' ids: those of several can be mixed.
    """
    dropped: Counter[str] = Counter()
    solved: dict[str, set[str]] = defaultdict(set)
    asked: dict[str, set[str]] = defaultdict(set)
    kept = 0
    with written_whole(folder / CANDIDATES) as file:
        for several in _by_problem(results):
            problem = several[0].problem
            asked[problem.subject].add(problem.id)
            chosen: dict[str, Solution] = {}
            share = sum(result.correct for result in several) / len(several)
            for result in choice.sorted(several):
                solution = _solution(result, style, run)
                if isinstance(solution, str):
                    dropped[solution] += 1
                elif not choice.rates[0] <= share <= choice.rates[1]:
                    dropped["its problem is solved too seldom or too often"] += 1
                elif (problem.id, _bare(solution.turns)) in choice.known:
                    dropped["known from an earlier sampling"] += 1
                elif _bare(solution.turns) in chosen:
                    dropped["the same as another"] += 1
                elif len(chosen) == choice.keep:
                    dropped[f"more than {choice.keep} a problem"] += 1
                else:
                    chosen[_bare(solution.turns)] = solution
            for solution in chosen.values():
                write_line(file, solution_to_json(solution))
                solved[problem.subject].add(problem.id)
            kept += len(chosen)
    return Yield(
        kept=kept,
        dropped=dict(dropped),
        problems={subject: (len(solved[subject]), len(ids)) for subject, ids in asked.items()},
        new_tokens=sum(result.new_tokens for result in results),
    )


def _by_problem(results: Iterable[Result]) -> list[list[Result]]:
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.problem.id].append(result)
    return list(groups.values())


def _solution(result: Result, style: Style, run: str) -> Solution | str:
    """The sample as a solution to train on, or the reason why it is none."""
    if result.infra_error is not None:
        return "failed for our reasons"
    if result.stop != "end":
        return f"did not end: {result.stop}"
    if style != "cot" and not result.calls:
        return "no program"
    if result.calls and result.calls[-1].status != "ok":
        return f"its last program ended with {result.calls[-1].status}"
    if result.problem.answer is not None and not result.correct:
        return "no answer" if result.grade and result.grade.verdict.predicted is None else "wrong answer"
    if style == "tir" and result.left_over is not None:
        return "its last program was not read"
    turns = tidy(solution_turns(result.text, None))
    if style == "pot":
        turns = tuple(turn for turn in turns if turn.kind == "code")
        if len(turns) > 1:
            return "more than one program"
        if result.grade is None or result.grade.program is None or result.grade.program.correct is False:
            return "its program does not print the answer"
    if not turns or not _reads_back(turns):
        return "not in the grammar's form"
    id_ = f"{result.problem.id}/{style}/{run}/{result.sample}"
    return Solution(id=id_, problem=result.problem, style=style, turns=turns)


def _reads_back(turns: Sequence[Turn]) -> bool:
    try:
        render(turns)
    except ValueError:
        return False
    return True
