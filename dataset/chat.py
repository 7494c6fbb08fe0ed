"""From chat messages to tokens, the same way for training and for evaluation.

A tokenizer's chat template decides the frame around the messages. This module finds out once what the template
puts before and after an assistant's words, and from then on the trainer (`example`) and the evaluator (`prompt`)
tokenise the same stretches of text apart, so that a token never crosses the border between what the model writes and
what it is shown, and the sequence a model was trained on is the sequence it meets when tools run.

Training needs more of a template than an exam does: the assistant's words must follow the generation prompt, and a
token must end them. `ChatFormat(tokenizer)` refuses the others; `ChatFormat.for_exam` takes any template with which a
question can be asked (DeepSeek-R1's drops the thinking of an answer, Llama-2's ends a turn with a space and </s>).

It knows tokenizers by a protocol only, and imports none.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol, Self

from dataset import thinking, transcript
from sandbox.errors import InputError

Message = Mapping[str, str]  # {"role": "user" | "assistant" | "system", "content": …}
_PROBE = "soroban7probe"
_ASKED: tuple[Message, ...] = ({"role": "user", "content": "question"},)
_ANSWERED: tuple[Message, ...] = (*_ASKED, {"role": "assistant", "content": _PROBE})
# What may stand before a stretch so that it is no beginning of a text: no tokenizer joins them to words.
_SENTINELS = ("\n", ")", "1")


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
        ends: all tokens at which generation stops: `end_of_turn`, and for an exam whatever else ends the model's text.
        thinks: the opening mark of thinking at the end of the generation prompt, "" if it has none.

    Raises:
        InputError: no chat template, or one that cannot be trained on.
    """

    lead_in = ""
    thinks = ""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._open(tokenizer)
        if not tokenizer.chat_template:
            raise InputError(
                "the tokenizer has no chat template; train with one (python -m trainer writes "
                "'User: …\\n\\nAssistant:' for models without) or add chat_template.jinja to the model folder"
            )
        opened = self._template(_ASKED, add_generation_prompt=True)
        whole = self._template(_ANSWERED, add_generation_prompt=False)
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
        self.ends: tuple[int, ...] = (self.end_of_turn,)

    @classmethod
    def for_exam(
        cls,
        tokenizer: ChatTokenizer,
        *,
        system: str | None = None,
        options: Mapping[str, Any] | None = None,
        ends: Iterable[int] = (),
        template: bool = True,
    ) -> Self:
        """How `tokenizer` asks a question, for any template that can.

        `system` is a system message before every question, `options` are the template's own switches, `ends` further
        tokens at which the model stops (its generation_config.json has them). With `template` False no template is
        needed: the prompts are texts.

        Raises:
            InputError: no template, one that refuses or loses a message, an option that it does not have, or no token
                that ends a turn.
        """
        self = cls.__new__(cls)
        self._open(tokenizer, system, options or {})
        if template:
            self._check_exam()
        follows = self._after_the_answer() if template else None
        found = [token for token in (follows, tokenizer.eos_token_id, *ends) if token is not None]
        if not found:
            raise InputError(
                "nothing ends the model's turn: its chat template writes no special token after an answer and its "
                "tokenizer has no eos_token. Name one in tokenizer_config.json, or give --chat-template FILE"
            )
        self.end_of_turn = found[0]
        self.ends = tuple(dict.fromkeys(found))
        return self

    def _open(
        self, tokenizer: ChatTokenizer, system: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self._system = system
        self._options = dict(options or {})
        plain = tokenizer.encode("", add_special_tokens=True)
        self._bos = plain[0] if plain and plain[0] == tokenizer.bos_token_id else None
        # SentencePiece tokenizers take every text for the beginning of one, and put a space before it.
        self._prepends = self._encode("a") != self._after_sentinel("a")
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
        marks = {mark for pair in thinking.MARKS for mark in pair}
        self._special = special
        self._silent = special - {number for number, token in added.items() if token.content in marks}

    def _check_exam(self) -> None:
        if not self.tokenizer.chat_template:
            raise InputError(
                "the tokenizer has no chat template, without which the prompt cannot be written as the model was "
                "trained: give --chat-template FILE, or for a base model --protocol gsm8k-8shot, math-4shot or pal"
            )
        for name in self._options:
            if not re.search(rf"\b{re.escape(name)}\b", str(self.tokenizer.chat_template)):
                raise InputError(f"--template-option {name}: the chat template does not read it; see its text")
        opened = self._template(self._with_system(_ASKED), add_generation_prompt=True)
        if _ASKED[0]["content"] not in opened:
            raise InputError(f"the chat template leaves out the user's message: it wrote {opened[:200]!r}")
        if self._system is not None and self._system.strip() not in opened:
            raise InputError("--system: the chat template leaves out the system message; it has no place for one")
        self.thinks = thinking.opened_by(opened)
        with contextlib.suppress(InputError):
            whole = self._template(self._with_system(_ANSWERED), add_generation_prompt=False)
            if whole.startswith(opened) and _PROBE in whole[len(opened) :]:
                self.lead_in = whole[len(opened) :].partition(_PROBE)[0]

    def _after_the_answer(self) -> int | None:
        """The special token that follows an answer, at its end or before the next question (GLM), white space aside."""
        for messages in (_ANSWERED, (*_ANSWERED, *_ASKED)):
            with contextlib.suppress(InputError):
                after = self._template(messages, add_generation_prompt=False).rpartition(_PROBE)[2].lstrip()
                ids = self._encode(after)
                if ids and ids[0] in self._special:
                    return ids[0]
        return None

    def _template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, **self._options
            )
        except _template_errors() as error:
            roles = ", ".join(message["role"] for message in messages)
            told = " ".join(str(error).split())
            raise InputError(f"the chat template refuses these messages ({roles}): {told}") from None
        assert isinstance(text, str)
        return text

    def _with_system(self, messages: Sequence[Message]) -> Sequence[Message]:
        if self._system is None or messages[0]["role"] == "system":
            return messages
        return [{"role": "system", "content": self._system}, *messages]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids that stand before the assistant's first word, with one BOS if the tokenizer uses it."""
        return self.plain_prompt(self._template(self._with_system(messages), add_generation_prompt=True))

    def plain_prompt(self, text: str, *, a_chat: bool = False) -> list[int]:
        """Token ids of a prompt that no template writes, with one BOS if the tokenizer itself begins texts with it.

        With `a_chat` also if the tokenizer's template does: a model that learned its chats with one is used to it.
        """
        bos = self._bos
        if a_chat and bos is None and "bos_token" in str(self.tokenizer.chat_template):
            bos = self.tokenizer.bos_token_id
        ids = self._encode(text)
        return ids if bos is None or ids[:1] == [bos] else [bos, *ids]

    def piece(self, text: str) -> list[int]:
        """Token ids of a stretch of the assistant's message, e.g. a spliced output.

        They are those of the middle of a text: a tokenizer that puts a space before a text puts none here.
        """
        return self._after_sentinel(text) if self._prepends else self._encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a stretch of the assistant's message, special tokens left out but for the marks of thinking."""
        kept = [number for number in ids if number not in self._silent]
        before = self._encode(_SENTINELS[0]) if self._prepends else []
        text = self._decode([*before, *kept])
        return text.removeprefix(self._decode(before)) if before else text

    def _decode(self, ids: Sequence[int]) -> str:
        tokenizer: Any = self.tokenizer
        text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _after_sentinel(self, text: str) -> list[int]:
        if not text:
            return []
        for sentinel in _SENTINELS:
            before, whole = self._encode(sentinel), self._encode(sentinel + text)
            if whole[: len(before)] == before:
                return whole[len(before) :]
        return self._encode(text)

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


def _template_errors() -> tuple[type[Exception], ...]:
    """What a template may raise. Whoever renders one has loaded jinja2; a recording played back needs none."""
    jinja2 = sys.modules.get("jinja2")
    return (TypeError, ValueError, *((jinja2.TemplateError,) if jinja2 else ()))
