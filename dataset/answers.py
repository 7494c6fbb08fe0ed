"""Where the final answer stands in what a model wrote.

One place for every form of solution: words alone, one program, or both by turns. It finds the answer's text and
changes nothing in it; what the text means is `dataset.equality`'s subject. It refuses to judge: a wrong answer is
found as willingly as a right one, and where there is none it says None.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataset.transcript import parse
from dataset.types import Problem, Turn

_BOX = re.compile(r"\\f?box(?:ed)?\s*(?=[{\w\\])")
_SAID = re.compile(
    r"(?:answer\s*(?:is|:|：|=)|####|答案\s*(?:是|为|：|:)|答\s*[：:])\s*(.*)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?|-?\.\d+")


def extract(text: str, problem: Problem) -> str | None:
    """The final answer in `text`, as written; None if there is none.

    Looked for in this order: the last box, "the answer is", what the last program printed, the last number.
    """
    return extract_from_turns(parse(text), problem)


def extract_from_turns(turns: Sequence[Turn], problem: Problem) -> str | None:
    """As `extract`, for a solution that is already in turns."""
    prose = "\n".join(turn.text for turn in turns if turn.kind == "text")
    boxed = boxes(prose)
    if boxed:
        return boxed[-1]
    said = _SAID.findall(prose)
    if said and said[-1].strip():
        return str(said[-1]).strip().rstrip(".。")
    for turn in reversed(turns):
        if turn.kind == "output" and turn.text.strip():
            return turn.text.strip().splitlines()[-1].strip()
    numbers = _NUMBER.findall(prose)
    return numbers[-1] if numbers else None


def boxes(text: str) -> list[str]:
    r"""What stands in each \boxed{…} of `text`, outermost boxes only, in order."""
    found = []
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue
        start = match.end()
        if text[start] != "{":
            end = start + 1
            found.append(text[start])
            continue
        depth, end = 0, start
        while end < len(text):
            character = text[end]
            if character == "\\":
                end += 2
                continue
            depth += (character == "{") - (character == "}")
            end += 1
            if depth == 0:
                break
        found.append(text[start + 1 : end - 1].strip())
    return found
