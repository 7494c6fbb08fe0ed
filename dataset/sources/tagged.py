"""Programs between tags, as OpenMathInstruct-1 and the models trained on it write them, into turns.

Let's use Python.
<llm-code>
3 * 4
</llm-code>
<llm-code-output>
12
</llm-code-output>
So there are \\boxed{12}.
"""

from __future__ import annotations

import re

from dataset.types import Turn, TurnKind

_TAG = re.compile(r"<(llm-code|llm-code-output)>\n?(.*?)(?:\n?</\1>|\Z)", re.DOTALL)


def is_tagged(text: str) -> bool:
    """Whether there is a program between tags in `text`."""
    return "<llm-code>" in text


def turns_of_tags(text: str) -> tuple[Turn, ...]:
    """The turns of `text`; a block that never closes ends with the text."""
    turns: list[Turn] = []
    end = 0
    for block in _TAG.finditer(text):
        if before := text[end : block.start()].strip():
            turns.append(Turn("text", before))
        kind: TurnKind = "code" if block[1] == "llm-code" else "output"
        turns.append(Turn(kind, block[2].strip("\n")))
        end = block.end()
    if after := text[end:].strip():
        turns.append(Turn("text", after))
    return tuple(turns)
