"""A scripted model at the model's seam, and a problem for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataset.chat import ChatFormat
from dataset.transcript import STOP
from dataset.types import Problem
from evaluator.models.replay import WordTokenizer
from evaluator.models.types import Generation, Sampling


def problem(number: int = 0, answer: str = "7", question: str = "What is 3 + 4?") -> Problem:
    return Problem(id=f"p/{number}", source="test", language="en", question=question, answer=answer)


class Scripted:
    """A model that says the next of its lines at each call, and remembers the tokens it was given.

    `lines` may be a function of the conversation's key.
    """

    context_tokens = 100_000
    cache_tokens = 1_000_000
    engine: Mapping[str, Any] = {"name": "scripted"}
    about: Mapping[str, Any] = {}

    def __init__(self, lines: Sequence[str] | Callable[[str], Sequence[str]], chat: ChatFormat | None = None) -> None:
        self.lines = lines if callable(lines) else lambda key: lines
        self.chat = chat or ChatFormat(WordTokenizer())
        self.fed: dict[str, list[list[int]]] = {}
        self.said: dict[str, list[list[int]]] = {}
        self.closed = False

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        await asyncio.sleep(0)
        calls = self.fed.setdefault(key, [])
        calls.append(list(tokens))
        lines = self.lines(key)
        text = lines[len(calls) - 1] if len(calls) <= len(lines) else ""
        ids = self.chat.piece(text)
        if len(ids) > max_tokens:
            generation = Generation(ids[:max_tokens], text, "length")
        elif tools and text.endswith(STOP):
            generation = Generation(ids, text, "output")
        else:
            generation = Generation([*ids, self.chat.end_of_turn], text, "end")
        self.said.setdefault(key, []).append(list(generation.tokens))
        return generation

    async def close(self) -> None:
        self.closed = True
