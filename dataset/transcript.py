"""The one grammar of a worked solution: words, fenced `python` blocks, fenced `output` blocks.

    First we add the eggs.            text
    ```python                         code
    print(3 + 4)
    ```
    ```output                         output: what the sandbox printed, never written by the model
    7
    ```
    The answer is $\\boxed{7}$.        text

The same module renders training text, parses what a model wrote, and says where generation stops, so that the
three cannot disagree. A model writes everything up to and including "```output" (`STOP`); what follows, up to the
closing fence and its line end, is spliced in by the evaluator (`splice`) and shown but not learned in training.

The format is that of ToRA (arXiv 2309.17452) and DeepSeekMath (arXiv 2402.03300, repository deepseek-ai/DeepSeek-Math).
It refuses to guess: a fence without a language stays text, because running what was only shown would be worse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dataset.types import Language, Style, Turn, TurnKind

STOP = "```output"
_CODE_OPEN = "```python\n"
_CLOSE = "\n```"

# What asks for each style. The cot and tir lines are DeepSeek-Math's own, word for word
# (evaluation/infer/run_subset_parallel.py: markup_question); pot, which it does not have, is ours.
INSTRUCTIONS: dict[tuple[Style, Language], str] = {
    ("cot", "en"): "Please reason step by step, and put your final answer within \\boxed{}.",
    ("cot", "zh"): "请通过逐步推理来解答问题，并把最终答案放置于\\boxed{}中。",
    ("tir", "en"): (
        "Please integrate natural language reasoning with programs to solve the problem above, "
        "and put your final answer within \\boxed{}."
    ),
    ("tir", "zh"): "请结合自然语言和Python程序语言来解答问题，并把最终答案放置于\\boxed{}中。",
    ("pot", "en"): "Please write a Python program that solves the problem above and prints the final answer.",
    ("pot", "zh"): "请编写一个Python程序来解答上述问题，并输出最终答案。",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a rendered solution. Everything but `output` is the model's own and is learned."""

    kind: TurnKind
    text: str

    @property
    def learned(self) -> bool:
        return self.kind != "output"


def prompt(question: str, style: Style, language: Language) -> str:
    """The user's message: the question, a line end, and the instruction for `style`."""
    return f"{question.strip()}\n{INSTRUCTIONS[style, language]}"


def asked(message: str) -> str:
    """The question in a user's message: the inverse of `prompt`, whatever the style; any other text as it is."""
    for instruction in INSTRUCTIONS.values():
        message = message.removesuffix("\n" + instruction)
    return message


def spans(turns: Sequence[Turn]) -> list[Span]:
    """`turns` as stretches of text whose concatenation is `render(turns)`.

    The opening fence of an output belongs to the code before it, because the model writes it.

    Raises:
        ValueError: an output does not follow a program.
    """
    result = []
    for index, turn in enumerate(turns):
        following = turns[index + 1].kind if index + 1 < len(turns) else None
        line_end = "" if following is None else "\n"
        if turn.kind == "text":
            text = turn.text + line_end
        elif turn.kind == "code":
            text = _CODE_OPEN + turn.text + _CLOSE + line_end + (STOP if following == "output" else "")
        else:
            if index == 0 or turns[index - 1].kind != "code":
                raise ValueError(f"turn {index} is an output that does not follow a program")
            text = splice(turn.text)
        result.append(Span(turn.kind, text))
    return result


def splice(output: str) -> str:
    """What is put behind "```output" once the program has run: line end, output, closing fence, line end."""
    return f"\n{output}{_CLOSE}\n"


def render(turns: Sequence[Turn]) -> str:
    """The text of a solution.

    Raises:
        ValueError: `turns` would not read back as they are: empty or untrimmed text, two texts in a row, a fence
            inside a block. `tidy` mends the first two; `as_output` the third for outputs.
    """
    text = "".join(span.text for span in spans(turns))
    if parse(text) != tuple(turns):
        raise ValueError(f"these turns do not read back as they were written: {list(turns)!r:.300}")
    return text


def tidy(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """`turns` in the form that `render` takes: line ends unified, texts trimmed and joined, empty ones left out."""
    result: list[Turn] = []
    for turn in turns:
        text = turn.text.replace("\r\n", "\n").replace("\r", "\n")
        if turn.kind == "text":
            text = text.strip()
            if not text:
                continue
            if result and result[-1].kind == "text":
                text = result.pop().text + "\n" + text
        elif turn.kind == "output":
            text = as_output(text)
        result.append(Turn(turn.kind, text))
    return tuple(result)


def as_output(printed: str) -> str:
    """`printed` made safe to stand in an output block: trailing line ends dropped, fences in it defused."""
    text = printed.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    return re.sub(r"(?m)^(\s*)(```|~~~)", r"\1\\\2", text)


# An opening fence may be indented or follow words on its line; models write both. The language decides.
_OPENING = re.compile(r"(?P<before>.*?)(?P<fence>`{3,}|~{3,}) *(?P<language>python3?|py|output) *", re.IGNORECASE)


def parse(text: str) -> tuple[Turn, ...]:
    """The turns in `text`, tolerant of what models write.

    Line ends of any system, indented and tilde fences, "py" and "Python3", words before the opening fence, a closing
    fence glued to the last line of code, an output fence that opens while the code is still open, and blocks that
    never close (the end of the text closes them) are all read as meant.
    """
    turns: list[Turn] = []
    kind: TurnKind = "text"
    lines: list[str] = []
    fence, indent = "", 0

    def finish() -> None:
        body = "\n".join(lines)
        if kind != "text":
            turns.append(Turn(kind, body))
        elif body.strip():
            turns.append(Turn("text", body.strip()))
        lines.clear()

    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        opening = _OPENING.fullmatch(line) if kind != "output" else None
        if (
            opening
            and kind == "code"
            and not (
                opening["language"].lower() == "output"
                and opening["fence"][0] == fence[0]
                and not opening["before"].strip()
            )
        ):
            opening = None
        if opening:
            before = opening["before"]
            if kind == "text" and before.strip():
                lines.append(before)
            finish()
            kind = "output" if opening["language"].lower() == "output" else "code"
            fence = opening["fence"]
            indent = len(before) - len(before.lstrip(" ")) if not before.strip() else 0
        elif kind != "text" and _closes(line, fence):
            finish()
            kind = "text"
        elif kind == "code" and line.endswith(fence) and line.strip() and fence not in line[: -len(fence)]:
            lines.append(_dedent(line[: -len(fence)], indent))
            finish()
            kind = "text"
        else:
            lines.append(_dedent(line, indent) if kind == "code" else line)
    if kind != "text" and lines and lines[-1] == "":
        lines.pop()  # the line end before the end of the text, not a line of the block
    finish()
    return tuple(turns)


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and set(stripped) == {fence[0]}


def _dedent(line: str, indent: int) -> str:
    return line[indent:] if line[:indent].isspace() else line


def last_program(turns: Sequence[Turn]) -> str | None:
    """The last code in `turns` if nothing ran after it: what is waiting to be executed."""
    for turn in reversed(turns):
        if turn.kind == "code":
            return turn.text
        if turn.kind == "output":
            return None
    return None
