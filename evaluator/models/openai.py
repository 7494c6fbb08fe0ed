"""Servers that speak OpenAI's completions API: `vllm serve`, SGLang, or a proxy before many of them.

Token ids go in as the prompt, and come out where the server gives them (`return_token_ids`, vLLM 0.10.2 and later).
Elsewhere the text that it gives is turned into ids once and only appended to from then on; `about` says which.

What happens when a server dies, restarts or is full stands in `servers.py`. Chat endpoints are refused: they tokenise
the conversation anew at each turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import httpx

from dataset.chat import ChatFormat
from dataset.transcript import STOP
from evaluator.models.chat import open_chat, template_fact
from evaluator.models.servers import Servers
from evaluator.models.tokens import end_at_stop
from evaluator.models.types import Generation, ModelDied, ModelError, ModelOptions, Sampling
from sandbox.errors import InputError


def open_openai(name: str, options: ModelOptions) -> OpenAIModel:
    """The model that the servers at `options.urls` serve as `name`, or from the folder `name`.

    Raises:
        InputError: no server answers, one is no such server, wants a token or serves another model; no tokenizer.
    """
    from evaluator.models.transformers import open_tokenizer

    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    found: dict[str, Mapping[str, Any]] = {}
    silent = []
    for url in options.urls:
        try:
            found[url] = _served(url, name, httpx.get(f"{url}/models", headers=headers, timeout=15))
        except httpx.HTTPError as error:
            silent.append(f"{url}: {error or type(error).__name__}")
    if not found:
        raise InputError(f"no model server answers ({'; '.join(silent)}); start one, e.g. `vllm serve {name}`")
    names = {str(card["id"]) for card in found.values()}
    if len(names) > 1:
        raise InputError(f"the servers call the model by different names ({', '.join(sorted(names))}): use one")
    lengths = [int(card["max_model_len"]) for card in found.values() if card.get("max_model_len")]
    if not lengths and not options.context_tokens:
        raise InputError(f"{options.urls[0]} does not say how long its context is: give --context-tokens")
    longest = min([*lengths, *([options.context_tokens] if options.context_tokens else [])])
    source = options.tokenizer or name
    chat = open_chat(open_tokenizer(source, options.revision), source, options)
    engine: dict[str, Any] = {
        "name": _together(card.get("owned_by") for card in found.values()),
        "version": _together(_version(url, headers) for url in found),
        "served": names.pop(),
        "context_tokens": longest,
        "chat_template": template_fact(chat, options),
    }
    return OpenAIModel(options, headers, chat, engine)


def _together(values: Iterable[object]) -> str | None:
    """What several servers say of themselves, each once; None if they say nothing."""
    said = sorted({str(value) for value in values if value})
    return ", ".join(said) or None


def _version(url: str, headers: Mapping[str, str]) -> str | None:
    """The server's version, where it tells: vLLM does at /version, SGLang at /get_server_info."""
    root = url.rpartition("/v")[0] or url
    for path in ("version", "get_server_info"):
        try:
            answer = httpx.get(f"{root}/{path}", headers=headers, timeout=15)
            said = answer.json().get("version") if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError, AttributeError):
            continue
        if isinstance(said, str):
            return said
    return None


def _served(url: str, name: str, answer: httpx.Response) -> Mapping[str, Any]:
    """What the server says of the model `name`."""
    if answer.status_code in (401, 403):
        raise InputError(f"{url} refuses us ({answer.status_code}): set OPENAI_API_KEY to the key that it wants")
    try:
        cards = answer.raise_for_status().json()["data"]
        for card in cards:
            if name in (card["id"], card.get("root")) or _same_folder(name, card.get("root")):
                return cast(Mapping[str, Any], card)
        offered = ", ".join(card["id"] for card in cards)
    except (httpx.HTTPStatusError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        kind = answer.headers.get("content-type", "nothing").partition(";")[0]
        raise InputError(
            f"{url}/models answers with {answer.status_code} and {kind}, not with a list of models; expected the "
            "address of an OpenAI-compatible server, such as http://localhost:8000/v1"
        ) from None
    raise InputError(f"{url} serves {offered or 'no model'}, not {name}: give --model as the server calls it")


def _same_folder(name: str, root: object) -> bool:
    return isinstance(root, str) and Path(name).is_dir() and Path(name).resolve() == Path(root).resolve()


class OpenAIModel:
    """One model behind one or several servers; see `Model`."""

    cache_tokens = 1 << 30  # the servers queue what they have no room for

    def __init__(
        self, options: ModelOptions, headers: Mapping[str, str], chat: ChatFormat, engine: Mapping[str, Any]
    ) -> None:
        self._servers = Servers(options.urls, headers, options.patience_seconds)
        self._served: str = engine["served"]
        self.chat = chat
        self.context_tokens: int = engine["context_tokens"]
        self.engine = engine
        self.about: Mapping[str, Any] = {"urls": list(options.urls)}

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        """See `Model.generate`."""
        answer = await self._servers.ask(
            key,
            {
                "model": self._served,
                "prompt": list(tokens),
                "max_tokens": max_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                # Said even where neutral: a server fills what is left out from the model's generation_config.json.
                "top_k": sampling.top_k or -1,  # SGLang refuses 0
                "min_p": sampling.min_p,
                "repetition_penalty": sampling.repetition_penalty,
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
                "seed": sampling.seed if sampling.temperature else None,
                "stop": [STOP] if tools else None,
                "include_stop_str_in_output": True,
                "stop_token_ids": list(self.chat.ends),
                "add_special_tokens": False,
                "return_token_ids": True,
            },
        )
        try:
            choice = answer["choices"][0]
            reason, said, ids = choice["finish_reason"], choice["text"], choice.get("token_ids")
            # vLLM's name for it, then SGLang's
            stopped = choice["stop_reason"] if "stop_reason" in choice else choice.get("matched_stop", _UNSAID)
        except (KeyError, IndexError, TypeError):
            raise ModelError(f"the server answered {key} without a completion: {str(answer)[:200]}") from None
        self.about = {**self.about, "token_ids": "the server's" if ids else "of its text"}
        if not (reason == "stop" and stopped == STOP):
            self._servers.forget(key)
        if reason == "length":
            ids = ids or self.chat.piece(said)
            return Generation(ids, self.chat.decode(ids), "length")
        if reason != "stop":
            raise ModelError(f"the server ended its answer to {key} with {reason!r}")
        if tools and stopped is _UNSAID:
            raise ModelDied(
                "the server does not say what stopped it (stop_reason), so that a call of the tool looks like an end "
                "of turn; use vLLM or SGLang for --tools"
            )
        if stopped == STOP:
            ids = ids or self.chat.piece(said.partition(STOP)[0] + STOP)
            ids, text, mended = end_at_stop(ids, STOP, self.chat.decode, self.chat.piece)
            return Generation(ids, text, "output", mended)
        ids = ids or [*self.chat.piece(said), self.chat.end_of_turn]
        return Generation(ids, self.chat.decode(ids), "end")

    async def close(self) -> None:
        """See `Model.close`."""
        await self._servers.close()


_UNSAID = object()
