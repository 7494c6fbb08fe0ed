"""Where the final answer stands in what a model wrote.

One place for every form of solution: words alone, one program, or both by turns. It finds the answer's text and
changes nothing in it; what the text means is `dataset.equality`'s subject. It refuses to judge: a wrong answer is
found as willingly as a right one, and where there is none it says None.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataset.grading import question_hints
from dataset.grading.lexer import Hints, Unreadable
from dataset.grading.normalize import MAX_CHARACTERS, braced, clean
from dataset.grading.parser import read
from dataset.grading.phrases import choice, number, plain, without_lead
from dataset.grading.tree import Many, Seq, Words, contains
from dataset.transcript import parse
from dataset.types import Problem, Turn

_BOX = re.compile(r"\\{1,2}f?box(?:ed)?\s*(?=\{)|\\{1,2}f?boxed\s+(?=[^\s{])")
_SAID = re.compile(
    r"####|(?:final\s+)?answer(?:\s+is\b|\s*[:：=])\s*[:：]?"
    r"|(?:最终|最后|正确)?(?:答案|结果)(?:应该)?(?:是|为|：|:)\s*[:：]?|答\s*[：:]|(?:故|应|所以)选(?:择)?\s*[：:]?",
    re.IGNORECASE,
)
_OUR_ANSWER = re.compile(r"\$([^$]+)\$ is (?:our|the) (?:final )?answer")
_ALSO = re.compile(r"also (?:an )?accept|also correct")
# Where a sentence that gives the answer ends: a decimal point or an abbreviation's does not count.
_SENTENCE = re.compile(r"\.(?=\s+[A-Z]|\s*$)|[。！；]|\n", re.MULTILINE)
_MATH = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+(?![\d/]))?(?:\s*\\?%)?")
_BARE_LINE = re.compile(r"[-+]?\\?\$?\(?[-+]?\d[\d.,/()\s%*+^-]*|\(?[A-J]\)?")
_LETTER = re.compile(r"(?<![A-Za-z])\(([A-J])\)|(?:option|choice|选项?)\s*([A-J])(?![A-Za-z])")
# How a program's failure looks where its output should be: Python's last line, and what harnesses write in its place.
_FAILED = re.compile(
    r"Traceback \(most recent|^(?:Timeout|Runtime errors?|Error\b|\w+(?:Error|Exception)\b)", re.MULTILINE
)


def extract(text: str, problem: Problem) -> str | None:
    """The final answer in `text`, as written; None if there is none.

    `text` is a solution in the project's grammar, outputs included. Looked for in this order: the last box (all
    boxes, where the question asks for several answers), "the answer is", what the last program printed, the last
    number. A last line that is a number and nothing else comes before the box: some models end so. The answer of
    `problem` is not looked at, its question is.
    """
    return extract_from_turns(parse(text), problem)


def extract_from_turns(turns: Sequence[Turn], problem: Problem) -> str | None:
    """As `extract`, for a solution that is already in turns."""
    prose = "\n".join(turn.text for turn in turns if turn.kind == "text")
    ending = turns[-1].text if turns and turns[-1].kind == "text" else ""
    if (boxed := _boxed(prose, problem.question)) is not None:
        last = ending.strip().rsplit("\n", 1)[-1].strip()
        return last if _BARE_LINE.fullmatch(last) else boxed
    if (said := _said(prose)) is not None:
        return said
    outputs = [turn.text for turn in turns if turn.kind == "output"]
    if outputs and (printed := _printed(outputs[-1])) is not None:
        return printed
    if question_hints.options(problem.question) and (letters := _LETTER.findall(prose)):
        return next(filter(None, letters[-1]), None)
    # Where a program was to give the answer and did not, numbers in the words before it are none.
    return last_number(ending if outputs else prose)


def boxes(text: str) -> list[str]:
    r"""What stands in each \boxed{…}, in order; of nested ones the outermost; of an unclosed one, its line."""
    found = []
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue
        inner, end = braced(text, match.end())
        if end == len(text) and not text.endswith("}"):
            inner = inner.split("\n")[0].rstrip("$. ")
        while (nested := _BOX.match(inner)) is not None and braced(inner, nested.end())[1] == len(inner):
            inner = braced(inner, nested.end())[0]
        found.append(inner.strip())
    return [box for box in found if box]


def _boxed(prose: str, question: str) -> str | None:
    """The last box; where several answers are asked for, all that stand each in a box of its own."""
    found = boxes(prose)
    if len(found) > 1 and _ALSO.search(prose):
        kept = [part for part in re.split(r"(?<=\.)\s+(?=[A-Z])", prose) if not _ALSO.search(part)]
        found = boxes(" ".join(kept)) or found
    if not found:
        return None
    *_, last = _BOX.finditer(prose)
    if said := _OUR_ANSWER.findall(prose[last.end() :]):
        return str(said[-1])
    distinct = list(dict.fromkeys(found))
    if len(distinct) > 1 and question_hints.listing(question) and all(_single(box, question) for box in distinct):
        return ", ".join(distinct)
    return found[-1]


def _single(box: str, question: str) -> bool:
    """Whether a box has one value in it, and so may be one of several answers."""
    try:
        return not contains(read(clean(box[:MAX_CHARACTERS]), Hints(question, commas_part=True)), (Many, Seq, Words))
    except Unreadable:
        return False


def _said(prose: str) -> str | None:
    """What follows the last "the answer is", cut to the answer itself."""
    places = list(_SAID.finditer(prose))
    for place in reversed(places):
        rest = prose[place.end() :].lstrip(" \t*_:：").lstrip("\n")
        sentence = _SENTENCE.split(rest, maxsplit=1)[0].strip().strip("*").strip()
        if sentence:
            return _core(sentence)
    return None


def _core(sentence: str) -> str:
    """The value in a sentence: itself if it is one, else its last formula, else its last number, else itself."""
    if re.fullmatch(r"\$[^$]+\$", sentence):
        return sentence[1:-1].strip()
    if choice(sentence) is not None or _readable(sentence):
        return sentence
    if formulas := [next(filter(None, groups), "") for groups in _MATH.findall(sentence)]:
        return formulas[-1].strip()
    return last_number(sentence) or sentence


def _readable(text: str) -> bool:
    cleaned = without_lead(clean(text[:MAX_CHARACTERS]))
    if number(cleaned) is not None:
        return True
    try:
        return not contains(read(cleaned), Words) or not re.search(r"\d", plain(cleaned))
    except Unreadable:
        return False


def _printed(output: str) -> str | None:
    """The last line of what a program printed; None if that is nothing or an error."""
    lines = [line.strip() for line in output.strip().splitlines() if line.strip()]
    if not lines or _FAILED.search("\n".join(lines[-30:])):
        return None
    found = boxes(lines[-1])
    return found[-1] if found else _core(_after_label(lines[-1]))


def _after_label(line: str) -> str:
    """The value in "The total is: 5" and "x = 5"."""
    said = _SAID.search(line)
    return line[said.end() :].strip() if said and line[said.end() :].strip() else line


def last_number(text: str) -> str | None:
    """The last number in `text`, with its fraction or percent sign; None if there is none."""
    found = _NUMBER.findall(text)
    return found[-1].strip().rstrip(",") if found else None
