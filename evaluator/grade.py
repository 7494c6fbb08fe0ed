"""From a transcript to verdicts: the answer as a whole, and the program's answer by itself.

Both come from the one finder and the one grader of `dataset`. The program's answer is what the last program printed,
whatever the text says after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import dataset
from dataset.answers import extract_from_turns
from dataset.equality import equivalent
from dataset.thinking import answer_part
from dataset.transcript import STOP, parse
from dataset.types import Problem, Turn, Verdict


@cache
def grader_version() -> str:
    """Twelve hexadecimal digits of the code that finds and compares answers: another grader has others."""
    folder = Path(dataset.__file__).parent
    names = ["answers.py", "equality.py", "thinking.py", "transcript.py"]
    names += sorted(path.relative_to(folder).as_posix() for part in _PARTS for path in (folder / part).glob("*.py"))
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name in names:
        digest.update(f"\0{name}\0".encode() + (folder / name).read_bytes())
    return digest.hexdigest()[:12]


_PARTS = ("extraction", "grading")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """`program` None: no program printed anything. `answer_from`: where the answer was found, None if nowhere."""

    verdict: Verdict
    program: Verdict | None
    answer_from: Literal["text", "program"] | None


def solution_turns(text: str, left_over: str | None) -> tuple[Turn, ...]:
    """The turns of a solution, with the output of a last program that the model did not read."""
    turns = parse(text.removesuffix(STOP))
    return turns if left_over is None else (*turns, Turn("output", left_over))


def grade(problem: Problem, text: str, left_over: str | None) -> Grade:
    """Whether the solution `text` answers `problem`; what the model thought before it spoke is not read.

    Raises:
        ValueError: the problem has no reference answer.
    """
    if problem.answer is None:
        raise ValueError(f"{problem.id} has no reference answer")
    turns = solution_turns(answer_part(text), left_over)
    predicted = extract_from_turns(turns, problem)
    verdict = equivalent(problem.answer, predicted, problem.question)
    printed = [turn.text.strip() for turn in turns if turn.kind == "output" and turn.text.strip()]
    program = equivalent(problem.answer, printed[-1].splitlines()[-1].strip(), problem.question) if printed else None
    return Grade(verdict=verdict, program=program, answer_from=_origin(turns, problem, predicted))


def _origin(turns: Sequence[Turn], problem: Problem, predicted: str | None) -> Literal["text", "program"] | None:
    if predicted is None:
        return None
    alone = extract_from_turns([turn for turn in turns if turn.kind != "output"], problem)
    return "text" if alone == predicted else "program"
