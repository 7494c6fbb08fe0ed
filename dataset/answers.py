"""Where the final answer stands in what a model wrote.

One place for every form of solution: words alone, one program, or both by turns. It finds the answer's text; what
the text means is `dataset.equality`'s subject. It refuses to judge: a wrong answer is found as willingly as a right
one, and where there is none it says None. `dataset.extraction` has its parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataset.extraction.boxes import find_boxes, last_box
from dataset.extraction.statements import core, said
from dataset.extraction.values import last_value
from dataset.grading import question_hints
from dataset.transcript import parse
from dataset.types import Problem, Turn

_BARE_LINE = re.compile(r"[-+]?\\?\$?\(?[-+]?\d[\d.,/()\s%*+^-]*|\(?[A-J]\)?")
_LETTER = re.compile(r"(?<![A-Za-z])\(([A-J])\)|(?:option|choice|选项?)\s*([A-J])(?![A-Za-z])")
_LABEL = re.compile(r"[^\d=:：]{0,80}[A-Za-z\u4e00-\u9fff)][^\d=:：]{0,20}?\s*(?:[:：]|\bis\b|是)\s*")
_NAMED_LINE = re.compile(r"([A-Za-z]\w{0,20})\s*[=:：]\s*\S.*")
# How a program's failure looks where its output should be: Python's last line, and what harnesses write in its place.
_FAILED = re.compile(
    r"Traceback \(most recent|^(?:Timeout|Runtime errors?|Error\b|\w+(?:Error|Exception)\b)", re.MULTILINE
)
_OUTPUT_LINES = 30  # at the end of an output, that are looked at


def extract(text: str, problem: Problem) -> str | None:
    """The final answer in `text`, as written; None if there is none.

    `text` is a solution in the project's grammar, outputs included. Looked for in this order: the last box or, where
    one comes after it, the last "the answer is" (boxes that are one answer together are joined); what the last program
    printed; the last value that the last sentence with one states. A last line that is a number and nothing else comes
    before a box: some models end so. A last box that is empty takes back those before it. The answer of `problem` is
    not looked at, its question is.
    """
    return extract_from_turns(parse(text), problem)


def extract_from_turns(turns: Sequence[Turn], problem: Problem) -> str | None:
    """As `extract`, for a solution that is already in turns."""
    question = problem.question
    prose = "\n".join(turn.text for turn in turns if turn.kind == "text")
    ending = turns[-1].text if turns and turns[-1].kind == "text" else ""
    stated = said(prose, question)
    if (box := last_box(prose, question)) is not None:
        boxed, end = box
        last = ending.strip().rsplit("\n", 1)[-1].strip()
        if _BARE_LINE.fullmatch(last):
            return last
        if stated is not None and stated.position >= end and not stated.plain:
            return stated.text
        return boxed if boxed is not None else last_value(prose[end:], question)
    if stated is not None:
        return stated.text
    outputs = [turn.text for turn in turns if turn.kind == "output"]
    if outputs and (printed := _printed(outputs[-1], question)) is not None:
        return printed
    if question_hints.options(question) and (letters := _LETTER.findall(prose)):
        return next(filter(None, letters[-1]), None)
    # Where a program was to give the answer and did not, numbers in the words before it are none.
    return last_value(ending if outputs else prose, question)


def boxes(text: str) -> list[str]:
    r"""What stands in each \boxed{…}, in order; of nested ones the outermost; of an unclosed one, its line."""
    return [box.text for box in find_boxes(text) if box.text]


def _printed(output: str, question: str) -> str | None:
    """The answer in what a program printed last; None if that is nothing or an error.

    The last line; where all lines are "name = value" and several answers are asked for, all of them.
    """
    lines = [line.strip() for line in output.strip().splitlines() if line.strip()]
    if not lines or _FAILED.search("\n".join(lines[-_OUTPUT_LINES:])):
        return None
    named = [_NAMED_LINE.fullmatch(line) for line in lines[-_OUTPUT_LINES:]]
    names = {match[1] for match in named if match}
    if 1 < len(lines) == len(names) and question_hints.several(question):
        return ", ".join(line.replace(":", "=", 1).replace("：", "=", 1) for line in lines)
    if (box := last_box(lines[-1], question)) is not None:
        return box[0]
    line = lines[-1]
    if (stated := said(line, question)) is not None and not stated.plain:
        return stated.text
    return core(line, question) or line
