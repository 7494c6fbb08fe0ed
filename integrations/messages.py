"""Chat messages, as OpenAI's API and chat templates have them, as turns of the project's grammar.

An assistant's content is words, with programs in fences or not; a tool call of the Python tool is a program; a tool's
message is its output. What else a conversation holds (system, user) is no part of a solution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dataset import transcript
from dataset.types import Turn

# What the tool of this package is called, and its one argument; see `integrations.tool`.
TOOL_NAME, TOOL_ARGUMENT = "python", "code"


def solution_turns(completion: str | Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """The turns of a completion: text in the grammar, or a list of messages."""
    if isinstance(completion, str):
        return transcript.tidy(transcript.parse(completion))
    turns: list[Turn] = []
    for message in completion:
        role = message.get("role")
        if role == "assistant":
            if text := content_text(message.get("content")):
                turns += transcript.parse(text)
            turns += [Turn("code", code) for call in message.get("tool_calls") or () if (code := called_code(call))]
        elif role == "tool":
            _put_output(turns, Turn("output", content_text(message.get("content"))))
    return transcript.tidy(turns)


def _put_output(turns: list[Turn], output: Turn) -> None:
    """Behind the first program that has none yet: several calls may come before their outputs."""
    for at, turn in enumerate(turns):
        if turn.kind == "code" and (at + 1 == len(turns) or turns[at + 1].kind == "code"):
            turns.insert(at + 1, output)
            return


def content_text(content: object) -> str:
    """The text of a message's content: a string, or parts of which those of type text count."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def called_code(call: Mapping[str, Any]) -> str | None:
    """The program in a tool call, whose arguments are an object or JSON; None if it is no call of the Python tool."""
    function = call.get("function", call)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(arguments, Mapping) or function.get("name") != TOOL_NAME:
        return None
    code = arguments.get(TOOL_ARGUMENT)
    return code if isinstance(code, str) else None
