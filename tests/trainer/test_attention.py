from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from sandbox.errors import InputError
from trainer.attention import NAME, document_attention

LENGTHS = [37, 1, 61, 8, 23]


def make_model(architecture: str, key_heads: int, tied: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=key_heads,
        head_dim=8,
        tie_word_embeddings=tied,
    )
    assert config.use_cache, "the default that switches transformers' own detection off"
    return AutoModelForCausalLM.from_config(config, attn_implementation=NAME, dtype=torch.float32)


def inputs(lengths: list[int], tokens: Tensor) -> dict[str, Tensor | int]:
    ends = torch.tensor([0, *lengths]).cumsum(0)
    # A repeated border, an empty document, is how every batch gets the same number of borders.
    borders = torch.cat([ends, ends[-1:]]).to(torch.int32)
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {"input_ids": tokens[None], "position_ids": positions[None], "borders": borders, "longest": max(lengths)}


def gradients(model: torch.nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters()]  # type: ignore[union-attr]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    ("architecture", "key_heads", "tied"),
    [("llama", 4, False), ("llama", 2, True), ("llama", 1, False), ("qwen2", 2, True), ("qwen3", 2, False)],
)
def test_packed_logits_and_gradients_equal_separate_ones(
    architecture: str, key_heads: int, tied: bool, recompute: bool
) -> None:
    model = make_model(architecture, key_heads, tied).train()
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    tokens = torch.randint(97, (sum(LENGTHS),))
    packed = model(**inputs(LENGTHS, tokens)).logits[0]
    packed.square().sum().backward()
    packed_gradients = gradients(model)
    model.zero_grad()
    # Alone, with transformers' own attention: an independent computation.
    model.set_attn_implementation("sdpa")
    alone = torch.cat([model(input_ids=part[None]).logits[0] for part in tokens.split(LENGTHS)])
    alone.square().sum().backward()
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)
    scale = max(float(g.abs().max()) for g in gradients(model))
    for one, other in zip(packed_gradients, gradients(model), strict=True):
        torch.testing.assert_close(one / scale, other / scale, rtol=1e-5, atol=1e-5)


def test_another_document_changes_nothing_in_this_one() -> None:
    model = make_model("llama", 2, True).eval()
    tokens = torch.randint(97, (sum(LENGTHS),))
    changed = tokens.clone()
    changed[: LENGTHS[0]] = (changed[: LENGTHS[0]] + 1) % 97
    with torch.no_grad():
        one, other = (model(**inputs(LENGTHS, t)).logits[0, LENGTHS[0] :] for t in (tokens, changed))
    assert torch.equal(one, other)


def test_without_borders_it_raises_rather_than_leaks() -> None:
    model = make_model("llama", 4, False)
    with pytest.raises(ValueError, match="borders"):
        model(input_ids=torch.randint(97, (1, 10)))


@pytest.mark.parametrize("window", [1, 4, 8, 60, 100])
def test_a_token_sees_its_window_and_nothing_before_it(window: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, sum(LENGTHS), 8) for _ in range(3))
    borders = torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32)
    found, _ = document_attention(
        torch.nn.Module(), query, key, value, None, borders=borders, longest=61, sliding_window=window
    )
    expected, start = [], 0
    for length in LENGTHS:
        for at in range(start, start + length):  # a token at a time
            seen = slice(max(start, at + 1 - window), at + 1)
            weights = torch.softmax(query[:, :, at : at + 1] @ key[:, :, seen].transpose(2, 3) / 8**0.5, dim=-1)
            expected.append(weights @ value[:, :, seen])
        start += length
    torch.testing.assert_close(found, torch.cat(expected, dim=2).transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_attention_of_a_kind_that_is_not_computed_is_refused() -> None:
    model = make_model("llama", 4, False)
    with pytest.raises(InputError, match="its attention has softcap, not computed here"):
        model(**inputs([10], torch.randint(97, (10,))), softcap=30.0)
