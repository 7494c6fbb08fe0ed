"""What every source's conversion yields, and the few ways in which all of them read a field.

A conversion takes one row of the source, as upstream writes it, to zero or more candidates. It never repairs a row
that is not in the form its docstring shows: it raises `InputError`, and the row is reported by file and line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dataset import transcript
from dataset.answers import extract_from_turns
from dataset.sources.tagged import is_tagged, turns_of_tags
from dataset.types import Language, Problem, Solution, Style, Turn
from sandbox.errors import InputError

_CHINESE = re.compile(r"[\u3400-\u9fff]")


class LeftOut(InputError):
    """A row that is in its form and gives no candidate on purpose: its text says why. Counted and listed, not bad."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A solution to be verified.

    `recorded_correct` is what its publisher said of it, None if nothing. `changes` says what of upstream's text was cut
    or rewritten: `build` counts and lists it.
    """

    solution: Solution
    recorded_correct: bool | None = None
    changes: tuple[str, ...] = ()

    def changed_by(self, change: str) -> Candidate:
        """The same candidate, with `change` told."""
        return replace(self, changes=(*self.changes, change))


def text_field(row: Mapping[str, Any], *names: str) -> str:
    """The string in the first of the fields `names` that is there; numbers become text.

    Raises:
        InputError: none of them is there, or it holds something else.
    """
    for name in names:
        if name in row:
            value = row[name]
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise InputError(f"{name!r} is {str(value)[:80]!r}, expected a string")
            return str(value)
    raise InputError(f"no field {' or '.join(repr(name) for name in names)}: found {', '.join(sorted(row)) or 'none'}")


def language_of(text: str) -> Language:
    """ "zh" if there is a Chinese character in `text`, else "en"."""
    return "zh" if _CHINESE.search(text) else "en"


def style_of(turns: tuple[Turn, ...]) -> Style:
    """ "cot" without a program, "pot" for a single program and nothing else, "tir" otherwise."""
    kinds = [turn.kind for turn in turns]
    if "code" not in kinds:
        return "cot"
    return "pot" if kinds == ["code"] else "tir"


def level_of(row: Mapping[str, Any]) -> str:
    """The field `level` as the benchmarks write it: "5" for "Level 5"; "" if there is none."""
    return text_field(row, "level").removeprefix("Level ") if "level" in row else ""


def turns_of(text: str) -> tuple[Turn, ...]:
    """The turns of a solution in the grammar, or with its programs between `<llm-code>` tags."""
    return turns_of_tags(text) if is_tagged(text) else transcript.parse(text)


def candidate(
    problem: Problem, style: Style | None, text_or_turns: str | tuple[Turn, ...], suffix: str = ""
) -> Candidate:
    """A candidate for `problem`, from text (`turns_of`) or from turns; the style is read off the turns if None."""
    turns = turns_of(text_or_turns) if isinstance(text_or_turns, str) else text_or_turns
    turns = transcript.tidy(turns)
    return Candidate(Solution(id=problem.id + suffix, problem=problem, style=style or style_of(turns), turns=turns))


def own_reference(
    source: str, default_id: str, question: str, text_or_turns: str | tuple[Turn, ...], subject: str = ""
) -> Candidate:
    """A candidate from a source without a field for the answer: what its solution says last is its reference."""
    question = question.strip()
    turns = turns_of(text_or_turns) if isinstance(text_or_turns, str) else text_or_turns
    problem = Problem(
        id=f"{source}/{default_id}",
        source=source,
        language=language_of(question),
        question=question,
        answer=None,
        subject=subject,
        split="train",
    )
    return candidate(replace(problem, answer=extract_from_turns(turns, problem)), None, turns)


def recorded_correct(row: Mapping[str, Any]) -> bool | None:
    """What the publisher's own grader said of a trajectory, None where the row does not say."""
    value = row.get("recorded_correct")
    if value is not None and not isinstance(value, bool):
        raise InputError(f"'recorded_correct' is {value!r}, expected true or false")
    return value


def trajectory(
    row: Mapping[str, Any], default_id: str, source: str, text_or_turns: str | tuple[Turn, ...]
) -> Candidate:
    """A published answer to a *test* problem, with its `reference`: for verifying and measuring, never for training."""
    question = text_field(row, "question")
    problem = Problem(
        id=text_field(row, "id") if "id" in row else default_id,
        source=source,
        language=language_of(question),
        question=question,
        answer=text_field(row, "reference"),
        subject=text_field(row, "type") if "type" in row else "",
        level=level_of(row),
        split="test",
    )
    return replace(candidate(problem, None, text_or_turns), recorded_correct=recorded_correct(row))
