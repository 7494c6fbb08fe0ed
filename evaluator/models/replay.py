"""Recorded solutions played back: given the text so far, the next recorded piece up to the stop string.

It makes the whole loop run on real data without weights: prompt, stop, sandbox, splice, grade. The recorded outputs are
never played; the sandbox's own take their place, so that a difference shows in the score. Its tokenizer counts words
and signs, and is no tokenizer of any model.

A line holds {"question": …, "solution": text with ```python and ```output blocks} (ToRA, Rho) or {"question": …,
"segments": [{"role": "text" | "code" | "execution", "content": …}]} (MathCoder).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset.chat import ChatFormat
from dataset.files import read_jsonl
from dataset.transcript import STOP, parse, spans, tidy
from dataset.types import Turn, TurnKind
from evaluator.models.types import Generation, ModelError, Sampling
from sandbox.errors import InputError

_ROLES: dict[str, TurnKind] = {"text": "text", "code": "code", "execution": "output"}
_WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s+")


class WordTokenizer:
    """Words and signs numbered as they come; enough of a tokenizer for `ChatFormat`."""

    bos_token_id: int | None = 0
    eos_token_id: int | None = 1
    all_special_ids = [0, 1]  # noqa: RUF012 - the protocol's own spelling
    chat_template: Any = "User: …\n\nAssistant:"

    def __init__(self) -> None:
        self._ids: dict[str, int] = {"<begin>": 0, "<end>": 1}
        self._words = ["<begin>", "<end>"]

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> Any:
        """The chat as DeepSeekMath writes it."""
        parts = [
            f"User: {message['content']}\n\n" if message["role"] == "user" else f"Assistant: {message['content']}<end>"
            for message in conversation
        ]
        return "".join(parts) + ("Assistant: " if add_generation_prompt else "")

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Ids of the words in `text`, after the begin mark if asked for."""
        ids = [0] if add_special_tokens else []
        for index, stretch in enumerate(text.split("<end>")):
            ids += [1] * (index > 0)
            for word in _WORD.findall(stretch):
                if word not in self._ids:
                    self._ids[word] = len(self._words)
                    self._words.append(word)
                ids.append(self._ids[word])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special ones left out."""
        return "".join(self._words[number] for number in ids if number > 1)


class ReplayModel:
    """A model that says what was recorded; see `Model`."""

    context_tokens = 1 << 20
    cache_tokens = 1 << 30

    def __init__(self, path: Path) -> None:
        """Read the recordings.

        Raises:
            InputError: a line without question and solution, or two recordings of one question.
        """
        self._tokenizer = WordTokenizer()
        self.chat = ChatFormat(self._tokenizer)
        self.engine: Mapping[str, Any] = {"name": "replay"}
        self.about: Mapping[str, Any] = {"recording": path.name}
        self.recorded: dict[str, tuple[Turn, ...]] = {}
        self._pieces: dict[str, list[str]] = {}
        for number, row in read_jsonl(path):
            question = row.get("question")
            if not isinstance(question, str) or not ("solution" in row or "segments" in row):
                raise InputError(
                    f"{path}:{number}: expected 'question' and 'solution' or 'segments', found {', '.join(row)}"
                )
            if question.strip() in self._pieces:
                raise InputError(f"{path}:{number}: a second recording of the question {question[:60]!r}")
            text = row["solution"] if "solution" in row else _from_segments(row["segments"])
            self._pieces[question.strip()] = pieces(text)
            self.recorded[question.strip()] = parse(text)

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        """See `Model.generate`; without `tools` all pieces are one."""
        asked, _, said = self._tokenizer.decode(tokens).partition("\n\nAssistant: ")
        question = asked.removeprefix("User: ").rpartition("\n")[0].strip()
        if question not in self._pieces:
            raise ModelError(f"{key}: nothing is recorded for the question {question[:80]!r}")
        recording = self._pieces[question]
        done = sum(turn.kind == "output" for turn in parse(said))
        text = recording[done] if done < len(recording) else ""
        if not tools:
            text = "".join(recording)
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        last = not text.endswith(STOP)
        if len(ids) + last > max_tokens:
            return Generation(ids[:max_tokens], self._tokenizer.decode(ids[:max_tokens]), "length")
        return Generation([*ids, 1] if last else ids, text, "end" if last else "output")

    async def close(self) -> None:
        """See `Model.close`."""


def pieces(text: str) -> list[str]:
    """What the model itself wrote of `text`: stretches that end with `STOP`, and the last one, which does not."""
    result: list[str] = []
    current: list[str] = []
    inside = False
    for line in text.replace("\r\n", "\n").splitlines(keepends=True):
        if inside:
            inside = line.strip() != "```"
        elif line.strip() == STOP:
            result.append("".join(current) + STOP)
            current, inside = [], True
        else:
            current.append(line)
    return [*result, "".join(current)]


def _from_segments(segments: Sequence[Mapping[str, str]]) -> str:
    turns = tidy(Turn(_ROLES[segment["role"]], segment["content"]) for segment in segments)
    # An execution that follows no program cannot have been shown to this model in our grammar.
    kept = [t for i, t in enumerate(turns) if t.kind != "output" or (i > 0 and turns[i - 1].kind == "code")]
    return "".join(span.text for span in spans(kept))
