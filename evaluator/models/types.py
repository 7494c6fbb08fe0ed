"""What the loop asks of a language model: token ids in, token ids out. Every backend keeps this one promise.

The loop owns the sequence: it appends what a model generated and what a tool printed, and never tokenises again what
a model has seen. So a backend's cache of the common beginning stays valid, and a model meets the tokens it was
trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from dataset.chat import ChatFormat

# output: the text ends with the opening of an output block; end: the model ended its turn; length: out of tokens
Stop = Literal["output", "end", "length"]


class ModelError(Exception):
    """The model could not answer: never graded, tried again, and at last recorded as such."""


class ModelDied(ModelError):
    """The model is gone and every further call would fail: the run stops and can be gone on with."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: these numbers and nothing else, whatever a model's generation_config.json says.

    Temperature 0 is greedy; then only `repetition_penalty` has an effect. The defaults change no probability: `top_k` 0
    keeps every token, `min_p` is a share of the likeliest one's probability. Presence and frequency penalties are 0.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Generation:
    """One stretch of the model's own.

    `tokens` are all that were sampled, an end of turn included; `text` is what they say, special tokens left out.
    With `stop` "output" the text ends with `transcript.STOP` and the tokens with the last of it. The last `mended`
    tokens were then not sampled as they stand: they say the part before the stop's end of what was.
    """

    tokens: Sequence[int]
    text: str
    stop: Stop
    mended: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a model is opened. A backend takes what concerns it; None means the model's or the engine's own.

    Attributes:
        context_tokens: the longest sequence.
        dtype: data type of the weights.
        revision: branch, tag or commit of a model on the Hub.
        asks_by_chat: whether a chat template writes the prompts, which then must be there.
        system: a system message before every question.
        chat_template: a template in the place of the tokenizer's own.
        template_options: the template's own switches, such as enable_thinking.
        engine: vLLM's own options, by its names.
        replicas: how many engines work side by side.
        adapter: folder of a LoRA adapter.
        urls: model servers, each the address that "/completions" is appended to.
        tokenizer: folder or Hub name of the tokenizer, for a model that only servers have.
        token: what the servers want to see.
        patience_seconds: how long servers that do not answer are asked again.
    """

    context_tokens: int | None = None
    dtype: str | None = None
    revision: str | None = None
    asks_by_chat: bool = True
    system: str | None = None
    chat_template: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    replicas: int = 1
    adapter: Path | None = None
    urls: Sequence[str] = ()
    tokenizer: str | None = None
    token: str | None = field(default=None, repr=False)
    patience_seconds: float = 600.0


class Model(Protocol):
    """A language model that is ready.

    Attributes:
        chat: how it writes a chat.
        context_tokens: the longest sequence it takes, prompt and answer together.
        cache_tokens: how many tokens of all running sequences it can hold at a time.
        engine: what of it can change a score (engine and version, data type, context): part of the results' key.
        about: what only describes it, such as the device; written down with the results.
    """

    chat: ChatFormat
    context_tokens: int
    cache_tokens: int
    engine: Mapping[str, Any]
    about: Mapping[str, Any]

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        """What the model says after `tokens`: to its end of turn, or `max_tokens`, or with `tools` an output block.

        `key` names the conversation, in messages and for recordings.

        Raises:
            ModelError: it could not; the same call may succeed later.
            ModelDied: it never will again.
        """
        ...

    async def close(self) -> None:
        """Free what it holds. Closing twice does nothing."""
        ...


class Teachable(Model, Protocol):
    """A model whose weights can be changed while it stays open."""

    async def take_weights(self, folder: Path) -> None:
        """Answer by the weights in `folder`/*.safetensors from now on; names and shapes are those of its own.

        Nothing may be under way. What was cached of conversations is forgotten.

        Raises:
            ModelError: it could not take them.
        """
        ...
