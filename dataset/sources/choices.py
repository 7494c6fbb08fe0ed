"""Multiple-choice problems: the question with its choices written out, and back to the question alone.

    Which is prime?
    (A) 4
    (B) 5

A solution of such a problem ends with the letter. What stands behind the letter is the reference of the same question
where it is asked without choices, as MathInstruct's programs do (`without_choices`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataset.types import Language
from sandbox.errors import InputError

_LETTERED = re.compile(r"^\s*\(?([A-Ha-h])\s*[).．、:：]\s*(.*)$", re.DOTALL)
_CHOICE = re.compile(r"\n\(([A-H])\) (.*?)(?=\n\([A-H]\) |\Z)", re.DOTALL)
_CONCLUSIONS = {"en": "The answer is $\\boxed{%s}$.", "zh": "答案是$\\boxed{%s}$。"}
# "Answer: C", "correct option is (c)", "故选：C", "选$\text{C}$", "so $$\text{C}$$ is right" at the end of a solution.
_CHOSEN = re.compile(
    r"(?:answer|ans|option|choice|choose)s?\b\s*(?:is|are|option|choice|=|:|-|–|\.|\s)*\W{0,3}(?:\\text\{)?\(?([A-H])\b"
    r"|(?:故选|应选|答案选|答案[为是]|选择?)\s*[:：]?\s*\W{0,4}(?:\\text\{|\\mathrm\{|text\{)?\s*([A-H])(?![A-Za-z])",
    re.IGNORECASE,
)


def lettered(options: Sequence[str]) -> list[tuple[str, str]]:
    """Letter and text of each of `options` such as "A)100 m", "(b) 3" or "5" (whose letters are their places)."""
    found = [_LETTERED.match(option) for option in options]
    if all(found):
        return [(match[1].upper(), match[2].strip()) for match in found if match]
    return [(chr(ord("A") + place), option.strip()) for place, option in enumerate(options)]


def must_be_among(letter: str, choices: Sequence[tuple[str, str]], field: str) -> None:
    """Nothing, if one of `choices` has this letter. Raises InputError that names the row's `field` otherwise."""
    if letter not in dict(choices):
        raise InputError(f"{field!r} is {letter!r}, expected one of {', '.join(each for each, _ in choices)}")


def with_choices(question: str, choices: Sequence[tuple[str, str]]) -> str:
    """The question and its choices, one a line."""
    return "\n".join([question.strip(), *(f"({letter}) {text}" for letter, text in choices)])


def without_choices(question: str, answer: str) -> tuple[str, str] | None:
    """The question alone and what stands behind the letter `answer`; None if no such choice is written out."""
    found = dict(_CHOICE.findall(question))
    if answer.strip().upper() not in found:
        return None
    return _CHOICE.sub("", question).strip(), found[answer.strip().upper()].strip()


def chosen(solution: str) -> str | None:
    """The letter that `solution` says last, None if it names none."""
    letters = [match[1] or match[2] for match in _CHOSEN.finditer(solution)]
    return letters[-1].upper() if letters else None


def conclusion(answer: str, language: Language) -> str:
    """The sentence that ends a solution whose publisher keeps the answer in a field of its own."""
    return _CONCLUSIONS[language] % answer
