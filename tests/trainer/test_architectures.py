"""Every architecture is trained to its own loss and gradients, or refused in one line: tiny models of many kinds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from sandbox.errors import InputError
from trainer import architecture, model
from trainer.architecture import check_config, fill_unsaved_buffers, meta_model, simplify, windows
from trainer.attention import NAME, document_attention
from trainer.batches import IGNORED, Order
from trainer.lora import adapted
from trainer.model import Learner, build_learner, load_weights
from trainer.preflight import measure, step_flops
from trainer.render import Rendered
from trainer.self_check import prove
from trainer.world import World

ROW = 256
BASE = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "pad_token_id": 0,
    "tie_word_embeddings": False,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16,
    "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "first_k_dense_replace": 1, "num_key_value_heads": 4, "n_group": 1, "topk_group": 1,
}  # fmt: skip
GRANITE = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.0625}


def rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10000.0, "rope_type": kind, **values}}


LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
LONGROPE = {"factor": 4.0, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
# Architecture and settings; None: the same losses and gradients as its own, else a part of the refusal.
CASES: list[tuple[str, dict[str, Any], str | None]] = [
    ("llama", {}, None),
    ("llama", {"tie_word_embeddings": True}, None),
    ("llama", {"attention_bias": True, "mlp_bias": True}, None),
    ("llama", LLAMA3, None),
    ("llama", rope("linear", factor=2.0), None),
    ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=64), None),
    ("llama", rope("dynamic", factor=4.0), None),  # rows are shorter than where it begins to move
    ("llama", {"max_position_embeddings": 32, **rope("dynamic", factor=4.0)}, "pass --row-tokens 32 or less"),
    ("llama", rope("longrope", original_max_position_embeddings=256, **LONGROPE), None),
    ("llama", rope("longrope", original_max_position_embeddings=64, **LONGROPE), "pass --row-tokens 64 or less"),
    ("llama", {"attention_dropout": 0.1}, None),  # switched off, and said
    ("mistral", {"sliding_window": None}, None),
    ("mistral", {"sliding_window": 32}, None),
    ("ministral", {}, None),
    ("qwen2", {}, None),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1}, None),
    ("qwen3", {}, None),
    ("qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 32}, None),
    ("qwen3_moe", EXPERTS, None),
    ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}, None),
    ("phi", {"head_dim": None, "resid_pdrop": 0.1, "embd_pdrop": 0.1}, None),
    ("phi3", {"resid_pdrop": 0.1}, None),
    ("olmo2", {}, None),
    ("olmo3", {"sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]}, None),
    ("smollm3", {}, None),
    ("starcoder2", {"sliding_window": 32, "residual_dropout": 0.1}, None),
    ("granite", {**GRANITE, "logits_scaling": 8.0}, None),
    ("glm4", {}, None),
    ("cohere", {"logit_scale": 0.0625}, None),
    ("gemma", {}, None),
    ("gemma2", {"query_pre_attn_scalar": 16, "attn_logit_softcapping": None, "sliding_window": 32}, None),
    ("gemma2", {"query_pre_attn_scalar": 16}, "soft cap"),
    ("gemma3_text", {"query_pre_attn_scalar": 16, "sliding_window": 32, "sliding_window_pattern": 2}, None),
    ("deepseek_v2", {**LATENT, "head_dim": 8}, None),
    ("deepseek_v3", {**LATENT, "head_dim": 8}, None),
    ("exaone4", {"sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]}, None),
    ("seed_oss", {}, None),
    ("hunyuan_v1_dense", {}, None),
    ("ernie4_5", {}, None),
    ("gpt_neox", {"head_dim": None, "num_key_value_heads": None, "hidden_dropout": 0.1}, None),
    ("gpt2", {}, "no list of `layers`"),
    ("stablelm", {}, "so examples would mix"),
    ("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2}, "sinks"),
    ("qwen3_next", {}, "layers of type linear_attention"),
    ("llama4_text", {}, "chunked_attention"),
]


def describe(architecture: str, changes: dict[str, Any]) -> Any:
    values = {name: value for name, value in {**BASE, **changes}.items() if value is not None or name in changes}
    if architecture in ("phi", "gpt_neox"):
        values = {name: value for name, value in values.items() if value is not None}
    return AutoConfig.for_model(architecture, **values)


def plain_model(config: Any) -> Any:
    """transformers' own model, with weights that are no special case: norms and biases are not 1 and 0."""
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return plain.eval()


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def admit(config: Any, order: Order, world: World) -> tuple[Learner, Any]:
    """What a run does before its first step."""
    check_config(config, row_tokens=ROW)
    simplify(config)
    measure(config)
    plain = plain_model(config)
    learner = build_learner(copy.deepcopy(config), world, precision=torch.float32)
    load_weights(learner, plain.state_dict())
    prove(learner, order, world, torch.float32, micro_rows=2)
    return learner, plain


@pytest.fixture(scope="module")
def order(data: Rendered) -> Order:
    return Order(data, steps=1, batch_rows=2, row_tokens=ROW)


@pytest.mark.parametrize(
    ("kind", "changes", "refusal"), CASES, ids=[f"{kind} {','.join(map(str, changes))}" for kind, changes, _ in CASES]
)
def test_an_architecture_is_trained_to_its_own_loss_and_gradients_or_refused(
    kind: str, changes: dict[str, Any], refusal: str | None, world: World, order: Order
) -> None:
    config = describe(kind, changes)
    if refusal is not None:
        with pytest.raises(InputError, match=refusal):
            admit(config, order, world)
        return
    learner, plain = admit(config, order, world)
    targets = int(order.targets[0])
    expected = 0.0
    for index in [int(i) for row in range(2) for i in order.plans[0].row(row)]:
        tokens, learned = (torch.from_numpy(array.astype("int64")) for array in order.data.example(index))
        labels = torch.where(learned.bool(), tokens, IGNORED)
        logits = plain(input_ids=tokens[None], use_cache=False).logits[0, :-1]
        loss = nn.functional.cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum") / targets
        loss.backward()
        expected += float(loss.detach())
    sharded = build_learner(copy.deepcopy(config), world, precision=torch.float32, shard_alone=True).train()
    load_weights(sharded, plain.state_dict())
    for one in (learner, sharded):
        compare(one, plain, expected, order)


def compare(learner: Learner, plain: Any, expected: float, order: Order) -> None:
    """Loss and all gradients of a learner, packed, with those of a plain model."""
    targets, total = int(order.targets[0]), 0.0
    for batch in order.micro_batches(0, micro_rows=2):
        losses = learner(batch, ROW)
        (losses.sum() / targets).backward()
        total += float(losses.detach().sum()) / targets
    assert total == pytest.approx(expected, rel=1e-5)
    found = {name: whole(p.grad) for name, p in learner.model.named_parameters() if p.grad is not None}
    wanted = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert set(found) == set(wanted)
    largest = max(float(gradient.norm()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert float((found[name] - gradient).norm()) <= 1e-4 * float(gradient.norm()) + 1e-6 * largest, name


def faulty_attention(**forced: Any) -> Any:
    def attention(*arguments: Any, **named: Any) -> Any:
        return document_attention(*arguments, **{**named, **forced})

    return attention


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "the head's scale ignored": ("granite", {"logits_scaling": 8.0}),
    "the head's soft cap ignored": ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": 2.0}),
    "attention's soft cap ignored": ("gemma2", {"attn_logit_softcapping": 1.0, "query_pre_attn_scalar": 1}),
    "the attention's scale ignored": ("granite", {"attention_multiplier": 0.5}),
    "the window ignored": ("mistral", {"sliding_window": 32}),
    "dynamic rope": ("llama", {"max_position_embeddings": 32, **rope("dynamic", factor=4.0)}),
    "attention dropout": ("llama", {"attention_dropout": 0.1}),
    "residual dropout": ("phi3", {"resid_pdrop": 0.1}),
    "sinks ignored": ("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 256}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_proof_fails_where_a_part_of_the_model_is_not_computed(
    fault: str, world: World, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, changes = FAULTS[fault]
    config = describe(kind, changes)
    attention = document_attention
    if fault.startswith("the head"):
        monkeypatch.setattr(model, "head_of", lambda m: model.Head(m.get_output_embeddings().weight))
    elif fault == "the attention's scale ignored":
        attention = faulty_attention(scaling=None)
    elif fault == "the window ignored":
        attention = faulty_attention(sliding_window=None)
    elif fault == "attention dropout":
        attention = dropping
    else:  # what the configuration would have been refused for
        attention = faulty_attention(softcap=None, s_aux=None)
    monkeypatch.setitem(AttentionInterface._global_mapping, NAME, attention)
    monkeypatch.setattr(architecture, "fill_unsaved_buffers", fill_unsaved_buffers)
    plain = plain_model(config)
    monkeypatch.setattr(model, "meta_model", unchecked)
    learner = build_learner(copy.deepcopy(config), world, precision=torch.float32)
    load_weights(learner, plain.state_dict())
    with pytest.raises((InputError, RuntimeError), match=r"cannot be trained: its own loss|looks across examples"):
        prove(learner, order, world, torch.float32, micro_rows=1)


def unchecked(config: Any, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=NAME)


def dropping(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, *, dropout: float = 0.0, **named: Any
) -> Any:
    attended, weights = document_attention(module, query, key, value, mask, **named)
    return nn.functional.dropout(attended, dropout), weights


def test_a_buffer_that_no_checkpoint_holds_and_no_code_fills_is_refused() -> None:
    plain = plain_model(describe("llama", {}))
    plain.model.register_buffer("shift", torch.ones(3), persistent=False)
    with pytest.raises(InputError, match=r"its buffer model\.shift is in no checkpoint"):
        fill_unsaved_buffers(plain)


def test_dropout_is_switched_off_and_said() -> None:
    config = describe("phi3", {"resid_pdrop": 0.1, "attention_dropout": 0.2})
    assert simplify(config) == ("trained without its attention_dropout 0.2, resid_pdrop 0.1",)
    assert config.attention_dropout == config.resid_pdrop == 0.0
    assert simplify(describe("llama", {})) == ()
    assert "without the auxiliary loss" in simplify(describe("mixtral", {"num_local_experts": 4}))[0]


def test_what_a_mixture_of_experts_costs_is_what_a_token_visits() -> None:
    config = describe("qwen3_moe", EXPERTS)
    size = measure(config)
    hidden, experts = 32, 4
    attention = 2 * hidden * 32 + 2 * hidden * 16
    assert size.body == 2 * (attention + hidden * experts + 2 * 3 * hidden * 32), "router, and two of four experts"
    assert size.layer > size.body // 2, "all four are gathered"
    assert size.parameters == sum(p.numel() for p in plain_model(config).parameters())
    assert size.inner == 2 * 32


def test_a_window_costs_the_pairs_that_it_sees(data: Rendered) -> None:
    order = Order(data, steps=1, batch_rows=2, row_tokens=ROW)
    lengths = [int(data.lengths[i]) for row in range(2) for i in order.plans[0].row(row)]
    # Counted one by one: a token, and up to seven before it, against all before it.
    seen = sum(min(at + 1, 8) for length in lengths for at in range(length))
    assert abs(order.squares_within(8)[0] / 2 - seen) <= 8 * len(lengths) * 4, "half a diagonal is not counted"
    size = measure(describe("mistral", {"sliding_window": 8}))
    assert size.windows == {8: 2}
    squares = {8: int(order.squares_within(8)[0]), None: int(order.squares_within(None)[0])}
    narrow = step_flops(size, tokens=0, targets=0, squares=squares)
    full = step_flops(measure(describe("mistral", {"sliding_window": None})), tokens=0, targets=0, squares=squares)
    assert narrow / full == pytest.approx(squares[8] / squares[None])
    mixed = describe("olmo3", {"sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]})
    assert windows(mixed) == [32, None]


def test_adapters_find_the_matrices_of_a_model_that_names_them_otherwise() -> None:
    names = {name.rpartition(".")[2] for name in adapted(meta_model(describe("phi3", {})))}
    assert names == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
