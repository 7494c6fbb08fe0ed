"""transformers, for machines where vLLM cannot be installed. Slower by far: the table says that it generated.

Requests that wait are answered together in one padded batch, each by its own sampling and seed (`rows.py`); those that
come later wait for the next. The results are the model's own either way, but a padded batch rounds differently, so
texts may differ from vLLM's, and from one batch to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.chat import ChatFormat
from dataset.files import hub_commit
from dataset.transcript import STOP
from evaluator.models.chat import open_chat, template_fact
from evaluator.models.tokens import end_at_stop
from evaluator.models.types import Generation, ModelError, ModelOptions, Sampling
from sandbox.errors import InputError

# Sequences in one batch: more fill a CPU no better, and the batch ends with its longest.
_BATCH = 32


def open_tokenizer(name: str, revision: str | None = None) -> Any:
    """The tokenizer in the folder or of the Hub name `name`.

    Raises:
        InputError: there is none, or the Hub cannot be reached.
    """
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no tokenizer for {name} ({str(error).splitlines()[0]}): give --tokenizer FOLDER, as the server has it"
        ) from None


def open_transformers(name: str, options: ModelOptions) -> TransformersModel:
    """The model in the folder or of the Hub name `name`, loaded.

    Raises:
        InputError: no tokenizer or chat template, or weights that cannot be loaded.
    """
    import torch
    import transformers

    on_gpu = torch.cuda.is_available()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, padding_side="left", revision=options.revision)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name,
            revision=options.revision,
            dtype=options.dtype or ("bfloat16" if on_gpu else "float32"),
            device_map="cuda" if on_gpu else None,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"transformers cannot load the model {name}: {str(error).splitlines()[0]}") from None
    chat = open_chat(tokenizer, name, options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = chat.end_of_turn
    # The model's own generation_config.json, which would fill in whatever `generate` is not told.
    model.generation_config = transformers.GenerationConfig()
    if options.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(options.adapter))
    longest = int(model.config.max_position_embeddings)
    quantization = getattr(model.config, "quantization_config", None)
    if quantization is not None and not isinstance(quantization, dict):
        quantization = quantization.to_dict()
    engine = {
        "name": "transformers",
        "version": transformers.__version__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "context_tokens": min(options.context_tokens or longest, longest),
        "quantization": quantization and quantization.get("quant_method"),
        "commit": hub_commit(name, options.revision),
        "chat_template": template_fact(chat, options),
    }
    about = {"torch": torch.__version__, "device": torch.cuda.get_device_name(0) if on_gpu else "cpu"}
    return TransformersModel(model.eval(), chat, engine, about)


@dataclass(slots=True)
class _Request:
    tokens: Sequence[int]
    max_tokens: int
    tools: bool
    sampling: Sampling
    answer: asyncio.Future[Generation]


class TransformersModel:
    """A model, its tokenizer and the requests that wait; see `Model`."""

    def __init__(self, model: Any, chat: ChatFormat, engine: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self._model: Any = model
        self._tokenizer: Any = chat.tokenizer
        self._waiting: list[_Request] = []
        self._worker: asyncio.Task[None] | None = None
        # One for all batches: the allocator keeps for each thread what a batch has taken there, a gigabyte and more.
        self._thread = ThreadPoolExecutor(1, "model")
        self.chat = chat
        self.context_tokens: int = engine["context_tokens"]
        self.cache_tokens = 2 * _BATCH * self.context_tokens
        self.engine = engine
        self.about = about

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        """See `Model.generate`."""
        answer: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(tokens, max_tokens, tools, sampling, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        await asyncio.sleep(0)  # let those that start together be answered together
        while waiting := [request for request in self._waiting if not request.answer.done()]:
            alike = [request for request in waiting if request.tools == waiting[0].tools][:_BATCH]
            self._waiting = [request for request in waiting if not any(request is one for one in alike)]
            try:
                answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._batch, alike)
            except RuntimeError as error:  # torch: out of memory, a device error
                for request in alike:
                    if not request.answer.done():
                        request.answer.set_exception(ModelError(f"transformers did not answer: {error}"))
                continue
            for request, generation in zip(alike, answers, strict=True):
                if not request.answer.done():
                    request.answer.set_result(generation)

    def _batch(self, requests: list[_Request]) -> list[Generation]:
        import torch

        from evaluator.models.rows import RowSampler

        width = max(len(request.tokens) for request in requests)
        pad = self._tokenizer.pad_token_id
        ids_BT = torch.tensor([[pad] * (width - len(r.tokens)) + list(r.tokens) for r in requests])
        mask_BT = torch.tensor([[0] * (width - len(r.tokens)) + [1] * len(r.tokens) for r in requests])
        options: dict[str, Any] = {}
        if requests[0].tools:
            options = {"stop_strings": [STOP], "tokenizer": self._tokenizer}
        samplings = [request.sampling for request in requests]
        if any(sampling != Sampling(seed=sampling.seed, top_p=sampling.top_p) for sampling in samplings):
            lengths = [len(request.tokens) for request in requests]
            options["logits_processor"] = [RowSampler(samplings, width, lengths, self._model.device)]

        def given_up(ids_BT: Any, *_: object, **__: object) -> Any:
            """Rows that nobody waits for any longer: after Ctrl-C all of them, and the batch ends with this token."""
            return torch.tensor([request.answer.done() for request in requests], device=ids_BT.device)

        with torch.inference_mode():
            out_BT = self._model.generate(
                input_ids=ids_BT.to(self._model.device),
                attention_mask=mask_BT.to(self._model.device),
                max_new_tokens=max(request.max_tokens for request in requests),
                eos_token_id=list(self.chat.ends),
                pad_token_id=pad,
                do_sample=False,
                stopping_criteria=[given_up],
                **options,
            )
        return [self._cut(row[width:], r) for row, r in zip(out_BT.tolist(), requests, strict=True)]

    def _cut(self, ids: list[int], request: _Request) -> Generation:
        """The row's own part: up to its end of turn, its stop string or its budget, without the batch's padding."""
        ended = next((place for place, token in enumerate(ids, 1) if token in self.chat.ends), len(ids))
        own = ids[: min(ended, request.max_tokens)]
        if request.tools and STOP in self.chat.decode(own):
            while STOP in self.chat.decode(own[:-1]):
                own = own[:-1]
            kept, text, mended = end_at_stop(own, STOP, self.chat.decode, self.chat.piece)
            return Generation(kept, text, "output", mended)
        return Generation(own, self.chat.decode(own), "end" if own and own[-1] in self.chat.ends else "length")

    async def take_weights(self, folder: Path) -> None:
        """See `Teachable.take_weights`."""
        from safetensors.torch import load_file

        weights: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            weights |= load_file(path, device=str(self._model.device))
        missing, unknown = self._model.load_state_dict(weights, strict=False)
        tied = set(self._model.state_dict()) - set(dict(self._model.named_parameters()))  # tied: saved under one name
        if wrong := [*unknown, *(name for name in missing if name not in tied)]:
            raise ModelError(f"transformers did not take the weights in {folder}: {len(wrong)} names, {wrong[0]} one")

    async def close(self) -> None:
        """See `Model.close`."""
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown()
        self._model = None
