"""Where the final answer stands in what a model wrote.

One place for every form of solution: words alone, one program, or both by turns. It finds the answer's text; what
the text means is `dataset.equality`'s subject. It refuses to judge: a wrong answer is found as willingly as a right
one, and where there is none it says None. `dataset.extraction` has its parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataset.equality import equivalent
from dataset.extraction.boxes import find_boxes, last_box
from dataset.extraction.choices import last_letter, said_by_words
from dataset.extraction.outputs import printed
from dataset.extraction.statements import said
from dataset.extraction.values import last_value
from dataset.grading import question_hints
from dataset.transcript import parse
from dataset.types import Problem, Turn

MAX_CHARACTERS = 200_000  # at the end of a solution, that are looked at; a model's longest has about 130,000
_BARE_LETTER = re.compile(r"\(?[A-J]\)?")
_TAG = re.compile(r"</?(?:b|i|u|em|strong|span|p|br|div)\s*/?>")  # of web pages
_POWER_OF_UNIT = re.compile(r"(?<![A-Za-z])((?:[cdkm]?m|ft|in|yd))\$\^\{?([23])\}?\$")  # $24$ cm$^2$
_BARE_LINE = re.compile(rf"[-+]?\\?\$?\(?[-+]?\d[\d.,/()\s%*+^-]*|{_BARE_LETTER.pattern}")


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
    prose = "\n".join(turn.text for turn in turns if turn.kind == "text")[-MAX_CHARACTERS:]
    if "</" in prose:
        prose = _TAG.sub("", prose)
    if "$^" in prose:
        prose = _POWER_OF_UNIT.sub(r"\1^\2", prose)
    ending = turns[-1].text[-MAX_CHARACTERS:] if turns and turns[-1].kind == "text" else ""
    last_line = ending.strip().rsplit("\n", 1)[-1].strip()
    stated = said(prose, question)
    if (box := last_box(prose, question)) is not None:
        boxed, end = box
        if _BARE_LINE.fullmatch(last_line):
            return last_line
        if stated is not None and stated.position >= end and not stated.plain:
            return stated.text
        return boxed if boxed is not None else last_value(prose[end:], question)
    if stated is not None:
        return stated.text
    outputs = [turn.text for turn in turns if turn.kind == "output"]
    if outputs and (answer := printed(outputs[-1], question)) is not None:
        return answer
    if _BARE_LETTER.fullmatch(bare := last_line.strip("*_` ")):
        return bare
    if (options := question_hints.options(question)) and (letter := last_letter(prose)) is not None:
        return letter
    # Where a program was to give the answer and did not, numbers in the words before it are none.
    text = ending if outputs else prose
    value = last_value(text, question)
    if not options:
        return value or _yes_or_no(ending)
    letter = said_by_words(text, options)
    if letter is not None and not any(re.search(r"[\d\\]", said_so) for said_so in options.values()):
        return letter
    if value is None or _is_choice(value, options):
        return value or letter
    if letter is not None:
        return letter
    # Of "x = 2, y = 3" or of a quotient with remainder the last alone, where that is one of the choices.
    parts = re.split(r",\s+(?=[^,]*=)|\\cdots|\\ldots|\.{3,}|…+", value)
    return parts[-1].strip() if len(parts) > 1 and _is_choice(parts[-1], options) else value


def _is_choice(value: str, options: dict[str, str]) -> bool:
    """Whether one of the choices says `value`."""
    return any(equivalent(said_so, value).correct for said_so in options.values())


def _yes_or_no(ending: str) -> str | None:
    """The yes or no with which a solution that states no value begins its last sentence."""
    sentences = re.findall(r"(?:^|[.\n]\s*)(yes|no)\s*[,.]", ending, re.IGNORECASE)
    return sentences[-1] if sentences else None


def boxes(text: str) -> list[str]:
    r"""What stands in each \boxed{…}, in order; of nested ones the outermost; of an unclosed one, its line."""
    return [box.text for box in find_boxes(text) if box.text]
