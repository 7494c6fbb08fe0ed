"""What a problem, a solution and a verdict are. Plain frozen data; one JSON object a line on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from sandbox.errors import InputError

Language = Literal["en", "zh"]
Style = Literal["cot", "pot", "tir"]
TurnKind = Literal["text", "code", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with its reference answer (None where it is not known).

    `source` is the name in `dataset.sources`; `subject`, `level` and `split` are the source's own words, "" if
    it has none.
    """

    id: str
    source: str
    language: Language
    question: str
    answer: str | None
    subject: str = ""
    level: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of a solution: words, a program, or what the program printed."""

    kind: TurnKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A worked answer to a problem: in words (cot), as one program (pot), or both by turns (tir)."""

    id: str
    problem: Problem
    style: Style
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a predicted answer equals the reference, and the name of the rule that decided.

    `predicted` None: no answer was found, which is not the same as a wrong one. `correct` None: it could not
    be decided (the rule says why), which is not the same as wrong either.
    """

    correct: bool | None
    rule: str
    reference: str
    predicted: str | None


_PROBLEM_FIELDS = tuple(field.name for field in fields(Problem))


def problem_to_json(problem: Problem) -> dict[str, Any]:
    """The problem's fields, in their order. (`dataclasses.asdict` copies deeply, which is slow.)"""
    return {name: getattr(problem, name) for name in _PROBLEM_FIELDS}


def solution_to_json(solution: Solution) -> dict[str, Any]:
    """One flat object: the problem's fields under "problem", turns as [kind, text] pairs."""
    return {
        "id": solution.id,
        "style": solution.style,
        "problem": problem_to_json(solution.problem),
        "turns": [[turn.kind, turn.text] for turn in solution.turns],
    }


def solution_from_json(data: Mapping[str, Any]) -> Solution:
    """The inverse of `solution_to_json`.

    Raises:
        InputError: a field is missing, unknown or of the wrong type; all problems are named at once.
    """
    problems: list[str] = []

    def take(mapping: Mapping[str, Any], name: str, allowed: tuple[str, ...] = (), default: str | None = None) -> str:
        value = mapping.get(name, default)
        if not isinstance(value, str):
            problems.append(f"{name!r} is {value!r}, expected a string")
            return ""
        if allowed and value not in allowed:
            problems.append(f"{name!r} is {value!r}, expected one of {', '.join(allowed)}")
        return value

    raw = data.get("problem")
    if not isinstance(raw, Mapping):
        raise InputError(f"'problem' is {raw!r}, expected an object with id, source, language, question, answer")
    answer = raw.get("answer")
    if answer is not None and not isinstance(answer, str):
        problems.append(f"'answer' is {answer!r}, expected a string or null")
        answer = None
    problem = Problem(
        id=take(raw, "id"),
        source=take(raw, "source"),
        language=take(raw, "language", get_args(Language)),  # type: ignore[arg-type]
        question=take(raw, "question"),
        answer=answer,
        subject=take(raw, "subject", default=""),
        level=take(raw, "level", default=""),
        split=take(raw, "split", default=""),
    )
    turns = data.get("turns")
    if not isinstance(turns, list) or not all(
        isinstance(t, list) and len(t) == 2 and t[0] in get_args(TurnKind) and isinstance(t[1], str) for t in turns
    ):
        problems.append(f"'turns' is {str(turns)[:80]}, expected a list of [kind, text] with kind text, code or output")
        turns = []
    solution = Solution(
        id=take(data, "id"),
        problem=problem,
        style=take(data, "style", get_args(Style)),  # type: ignore[arg-type]
        turns=tuple(Turn(kind, text) for kind, text in turns),
    )
    if problems:
        raise InputError("; ".join(problems))
    return solution
