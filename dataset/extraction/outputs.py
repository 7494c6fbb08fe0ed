"""The answer in what a program printed: its last line, or several lines that are one value."""

from __future__ import annotations

import re

from dataset.extraction.boxes import last_box
from dataset.extraction.statements import core, said
from dataset.extraction.values import is_value
from dataset.grading import question_hints

_NAMED_LINE = re.compile(r"([A-Za-z]\w{0,20})\s*[=:：]\s*\S.*")
_LABEL = re.compile(
    r"[^\d=:：]{0,80}?[A-Za-z\u4e00-\u9fff)][^\d=:：]{0,20}?\s*(?:[:：]|\bis\b|\bare\b|是|为)\s*[:：]?\s*"
)
_NUMBER = r"[-+]?\d[\d.]*(?:e[-+]?\d+)?(?:/\d+)?"
# "If each pie takes 9 apples" asks for nothing.
_GIVEN_EACH = re.compile(r"\beach (?:\w+ ){1,3}?(?:takes|costs|has|weighs|needs|holds|gets|uses)\b")
_NUMBERS = re.compile(rf"{_NUMBER}(?:\s*,\s*{_NUMBER}|\s+{_NUMBER})+")
_ONE_NUMBER = re.compile(_NUMBER)
# A number that compares two things is no value: "B is 10 times the term in A".
_COMPARES = re.compile(
    r"\d[\d.,]*\s*(?:times|more|less|fewer|as (?:many|much))\b.*[a-z]{3}.*[a-z]{3}|\d[\d.]*倍.*[\u4e00-\u9fff]{4}"
)
_REMAINDER = re.compile(r"remainder|余数")
# How a program's failure looks where its output should be: Python's last line, and what harnesses write in its place.
_FAILED = re.compile(
    r"Traceback \(most recent|^(?:Timeout|Runtime errors?|Error\b|\w+(?:Error|Exception)\b)", re.MULTILINE
)
_OUTPUT_LINES = 30  # at the end of an output, that are looked at
_LONGEST_LINE = 2_000


def printed(output: str, question: str) -> str | None:
    """The answer in what a program printed last; None if that is nothing or an error.

    The last line; with those before it where its brackets open there (a matrix by rows), and where each line is
    "name = value" or one number and several answers are asked for.
    """
    lines = [line.strip() for line in output.strip().splitlines() if line.strip()][-_OUTPUT_LINES:]
    if not lines or _FAILED.search("\n".join(lines)):
        return None
    if question_hints.several(question) and (several := _several(lines, question)) is not None:
        return several
    line = _whole_value(lines)
    if (box := last_box(line, question)) is not None:
        return box[0]
    if len(line) > _LONGEST_LINE:
        return line
    label = _LABEL.match(line)
    if label is not None and is_value(line[label.end() :], question):
        return line[label.end() :]
    if is_value(line, question):
        return line
    if (stated := said(line, question)) is not None and not stated.plain:
        return stated.text
    if _NUMBERS.fullmatch(line) and (_REMAINDER.search(question) or question_hints.several(question)):
        return "(" + ", ".join(re.split(r"[\s,]+", line)) + ")"
    if _COMPARES.search(line) and not question_hints.unit_words(question):
        return line
    return core(line, question) or line


def _several(lines: list[str], question: str) -> str | None:
    """All lines where each is "name = value" of another name, or all are numbers."""
    if len(lines) < 2:
        return None
    named = [_NAMED_LINE.fullmatch(line) for line in lines]
    if len({match[1] for match in named if match}) == len(lines):
        return ", ".join(line.replace(":", "=", 1).replace("：", "=", 1) for line in lines)
    numbers = all(_ONE_NUMBER.fullmatch(line) for line in lines)
    return ", ".join(lines) if numbers and question_hints.several(_GIVEN_EACH.sub("", question)) else None


def _whole_value(lines: list[str]) -> str:
    """The last line with as many before it as open its brackets."""
    missing = 0
    for count in range(1, len(lines) + 1):
        missing += lines[-count].count("]") - lines[-count].count("[")
        if missing <= 0:
            return " ".join(lines[-count:])
    return lines[-1]
