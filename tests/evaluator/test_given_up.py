"""A transformers model lets go: of what nobody waits for any longer, after Ctrl-C, and of the memory of a batch."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from evaluator.models.transformers import open_transformers
from evaluator.models.types import ModelOptions, Sampling
from tests.evaluator.tiny import make_tokenizer


def _speechless(folder: Path) -> None:
    """A model that has learned nothing, so that its greedy answers do not end before the budget."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def test_transformers_stops_within_a_token_when_its_callers_are_gone(tmp_path: Path) -> None:
    _speechless(tmp_path)
    model = open_transformers(str(tmp_path), ModelOptions())
    steps = 0

    async def scenario() -> int:
        loop, third = asyncio.get_running_loop(), asyncio.Event()

        def count(*_: object) -> None:
            nonlocal steps
            steps += 1
            if steps == 3:
                loop.call_soon_threadsafe(third.set)

        model._model.register_forward_hook(count)
        asked = [  # more than one batch holds
            asyncio.create_task(model.generate(str(n), [5, 6, 7], max_tokens=400, tools=True, sampling=Sampling()))
            for n in range(80)
        ]
        await third.wait()
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        when_cancelled = steps
        await model.close()
        return steps - when_cancelled

    # One is under way, another may have begun before the cancelling was seen.
    assert asyncio.run(scenario()) <= 2


def test_one_thread_computes_all_batches_whatever_others_are_idle(tmp_path: Path) -> None:
    """The allocator keeps for each thread what a batch has taken there: by six threads six times as much."""
    _speechless(tmp_path)
    model = open_transformers(str(tmp_path), ModelOptions())
    threads: set[int] = set()
    model._model.register_forward_hook(lambda *_: threads.add(threading.get_ident()))

    async def scenario() -> None:
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.1) for _ in range(4)))
        for n in range(12):
            await model.generate(str(n), [5, 6, 7], max_tokens=1, tools=True, sampling=Sampling())
        await model.close()

    asyncio.run(scenario())
    assert len(threads) == 1
