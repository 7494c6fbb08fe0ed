"""From chat messages to tokens, the same way for training and for evaluation.

A tokenizer's chat template decides the frame around the messages. This module finds out once what the template
puts before and after an assistant's words, and from then on the trainer (`example`) and the evaluator (`prompt`)
tokenise the same stretches of text apart, so that a token never crosses the border between what the model writes and
what it is shown, and the sequence a model was trained on is the sequence it meets when tools run.

It knows tokenizers by a protocol only, and imports none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

from dataset import transcript
from sandbox.errors import InputError

Message = Mapping[str, str]  # {"role": "user" | "assistant" | "system", "content": …}
_PROBE = "soroban7probe"


class ChatTokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    bos_token_id: int | None
    eos_token_id: int | None
    all_special_ids: list[int]
    chat_template: Any

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> Any: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class ChatFormat:
    """How one tokenizer writes a chat.

    Attributes:
        lead_in: what the template puts between the generation prompt and the assistant's words ("" or " ").
        end_of_turn: the token that ends an assistant's message; generation stops there, training learns it.

    Raises:
        InputError: no chat template, or one that does not mark the end of the assistant's turn.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        if not tokenizer.chat_template:
            raise InputError(
                "the tokenizer has no chat template; train with one (python -m trainer writes "
                "'User: …\\n\\nAssistant:' for models without) or add chat_template.jinja to the model folder"
            )
        self.tokenizer = tokenizer
        asked = [{"role": "user", "content": "question"}]
        opened = self._template(asked, add_generation_prompt=True)
        whole = self._template([*asked, {"role": "assistant", "content": _PROBE}], add_generation_prompt=False)
        if not whole.startswith(opened) or _PROBE not in whole[len(opened) :]:
            raise InputError(
                "the chat template writes an assistant's message differently from its generation prompt: "
                f"{whole!r} does not begin with {opened!r}"
            )
        self.lead_in, _, after = whole[len(opened) :].partition(_PROBE)
        ending = tokenizer.encode(after, add_special_tokens=False)
        if not ending or ending[0] not in tokenizer.all_special_ids:
            raise InputError(
                f"the chat template ends an assistant's message with {after!r}, which begins with no special token: "
                "a model trained on it would never stop. Let the template write eos_token there"
            )
        self.end_of_turn = ending[0]
        plain = tokenizer.encode("", add_special_tokens=True)
        self._bos = plain[0] if plain and plain[0] == tokenizer.bos_token_id else None

    def _template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        text = self.tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
        )
        assert isinstance(text, str)
        return text

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids that stand before the assistant's first word, with one BOS if the tokenizer uses it."""
        text = self._template(messages, add_generation_prompt=True)
        ids = list(self.tokenizer.encode(text, add_special_tokens=False))
        return ids if self._bos is None or ids[:1] == [self._bos] else [self._bos, *ids]

    def piece(self, text: str) -> list[int]:
        """Token ids of a stretch of the assistant's message, e.g. a spliced output."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def example(self, messages: Sequence[Message]) -> list[tuple[list[int], bool]]:
        """`messages`, the last one an assistant's, as stretches of (token ids, learned).

        Prompts and outputs are shown only; the assistant's words, programs and end of turn are learned. Earlier
        assistant messages belong to the prompt.

        Raises:
            ValueError: the last message is not the assistant's, or its text is not in the grammar's own form.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError(f"the last message is not the assistant's: {[m['role'] for m in messages]}")
        turns = transcript.parse(messages[-1]["content"])
        pieces = [(self.prompt(messages[:-1]), False)]
        lead_in = self.lead_in
        for learned, run in groupby(transcript.spans(turns), key=lambda span: span.learned):
            pieces.append((self.piece(lead_in + "".join(span.text for span in run)), learned))
            lead_in = ""
        pieces.append(([self.end_of_turn], True))
        return pieces
