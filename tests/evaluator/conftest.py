"""One event loop with one real sandbox for all tests here, a tiny real model, and the public data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sandbox import AsyncSandbox

T = TypeVar("T")
DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="session")
def run(runner: asyncio.Runner) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine on the one event loop that the sandbox lives on."""
    return runner.run


@pytest.fixture(scope="session")
def sandbox(runner: asyncio.Runner) -> Iterator[AsyncSandbox]:
    async def start() -> AsyncSandbox:
        box = AsyncSandbox(max_sessions=64)
        await box.start()
        return box

    box = runner.run(start())
    yield box
    runner.run(box.close())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of two layers and a byte-level BPE of 400 tokens, in Hugging Face layout."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    text = "User: How many?\n\nAssistant: ```python\nprint(3 + 4)\n```\n```output\n7\n```\nThe answer is $\\boxed{7}$."
    bpe.train_from_iterator(
        [text] * 50,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<begin>", "<end>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<begin>", eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}\n\nAssistant:"
        "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,  # vLLM's CPU attention wants heads of 32 or more
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    ).save_pretrained(folder)
    return folder
