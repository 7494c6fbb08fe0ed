from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig

from sandbox.errors import InputError
from trainer import float8
from trainer.batches import Order
from trainer.config import TrainConfig, same_training
from trainer.float8 import Float8Linear, in_bf16
from trainer.model import Learner, build_learner, load_weights, new_weights
from trainer.render import Rendered
from trainer.self_check import prove
from trainer.step import make_optimizer, take_step
from trainer.world import World


def described(hidden: int = 64) -> Any:
    return AutoConfig.for_model(
        "llama", vocab_size=400, hidden_size=hidden, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip


def learner_of(world: World, **options: Any) -> Learner:
    learner = build_learner(described(), world, precision=torch.bfloat16, **options)
    load_weights(learner, new_weights(described(), 0))
    return learner.train()


def apart(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


def test_a_product_and_its_gradients_are_right_to_what_eight_bits_hold() -> None:
    torch.manual_seed(0)
    exact, rounded = torch.nn.Linear(96, 160).bfloat16(), torch.nn.Linear(96, 160).bfloat16()
    rounded.load_state_dict(exact.state_dict())
    rounded.__class__ = Float8Linear
    inputs = [torch.randn(2, 48, 96).bfloat16().requires_grad_() for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    upstream = torch.randn(2, 48, 160).bfloat16() * 1e-3
    for layer, given in zip((exact, rounded), inputs, strict=True):
        layer(given).backward(upstream)
    with torch.no_grad():
        assert 1e-4 < apart(rounded(inputs[0]), exact(inputs[0])) < 0.06, "three bits after the point, and sums"
        with in_bf16():
            assert torch.equal(rounded(inputs[0]), exact(inputs[0]))
    assert apart(inputs[1].grad, inputs[0].grad) < 0.1  # type: ignore[arg-type]
    assert apart(rounded.weight.grad, exact.weight.grad) < 0.1  # type: ignore[arg-type]
    assert apart(rounded.bias.grad, exact.bias.grad) < 0.01  # type: ignore[arg-type]


def test_the_product_of_the_cpu_is_that_of_torchs_eight_bit_kernel() -> None:
    torch.manual_seed(0)
    left, left_scale = float8._scaled(torch.randn(32, 64), torch.float8_e4m3fn)
    right, right_scale = float8._scaled(torch.randn(64, 48) * 1e-4, torch.float8_e5m2)
    kernel = torch._scaled_mm(left, right.t().contiguous().t(), left_scale, right_scale, out_dtype=torch.bfloat16)
    assert apart(float8._product(left, left_scale, right, right_scale), kernel) < 0.003


@pytest.mark.parametrize("options", [{}, {"shard_alone": True}, {"recompute": "selective"}, {"lora_rank": 16}], ids=str)
def test_a_model_learns_in_eight_bits_nearly_what_it_learns_in_bf16(
    options: dict[str, Any], world: World, data: Rendered
) -> None:
    config = TrainConfig(
        data=Path(), out=Path(), init="-", steps=12, batch_rows=2, row_tokens=256, learning_rate=3e-3, repeat=True,
        lora_rank=options.get("lora_rank"),
    )  # fmt: skip
    order = Order(data, steps=12, batch_rows=2, row_tokens=256, repeat=True)
    losses = {}
    for eight in (False, True):
        learner = learner_of(world, float8=eight, **options)
        found = sum(isinstance(module, Float8Linear) for module in learner.modules())
        assert found == (2 * 7 if eight else 0), "every matrix of both layers, not the head"
        assert prove(learner, order, world, torch.bfloat16, micro_rows=1, float8=eight) < (0.1 if eight else 0.03)
        optimizer = make_optimizer(learner, config)
        steps = [take_step(learner, optimizer, order, step, config, world, stop=False) for step in range(12)]
        losses[eight] = [float(result.losses.sum() / order.targets[step]) for step, result in enumerate(steps)]
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=0.02)
    assert losses[True][-1] < losses[True][0]


def test_what_eight_bits_cannot_do_is_refused(world: World, tmp_path: Path) -> None:
    wanted: Any = {"data": tmp_path, "out": tmp_path, "init": "-", "float8": True}
    with pytest.raises(
        InputError, match="multiple of 16 tokens, --row-tokens is 1000; --float8 computes the rest in bf16"
    ):
        TrainConfig(**wanted, row_tokens=1000, precision="fp32")
    with pytest.raises(InputError, match="no matrix in the layers has two sizes that 16 divides"):
        build_learner(described(hidden=40), world, precision=torch.bfloat16, float8=True)


def test_a_run_from_before_there_was_float8_goes_on_without_it_and_not_with_it(tmp_path: Path) -> None:
    now = TrainConfig(data=tmp_path, out=tmp_path, init="-").to_json()
    before = {name: value for name, value in now.items() if name != "float8"}
    assert same_training(before, now) == []
    assert same_training(before, {**now, "float8": True}) == ["float8 None -> True"]
