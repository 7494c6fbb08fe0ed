"""Weights in two halves of 16 bits: the fp32 weight exactly, and AdamW's steps bit for bit."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig

from trainer import checkpoint
from trainer.batches import Order
from trainer.config import TrainConfig
from trainer.export import gather_weights
from trainer.model import Learner, build_learner, load_weights, new_weights
from trainer.render import Rendered
from trainer.split import Remainders, SplitAdamW, halves, whole
from trainer.step import make_optimizer, take_step
from trainer.world import World

Run = Callable[..., str]


def tiny(*, tied: bool = False) -> Any:
    return AutoConfig.for_model(
        "llama", vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip


def learner_of(world: World, **options: Any) -> Learner:
    config = tiny(tied=options.pop("tied", False))
    learner = build_learner(config, world, precision=torch.bfloat16, **options)
    load_weights(learner, new_weights(config, 0))
    return learner.train()


def bits(values: Tensor) -> Tensor:
    return values.view(torch.int32)


def test_two_halves_are_the_weight_and_the_upper_one_is_its_nearest_bf16_number() -> None:
    torch.manual_seed(0)
    special = [
        0.0,
        -0.0,
        float("inf"),
        -float("inf"),
        float("nan"),
        3.4028235e38,
        1e-45,
        2.0**-126,
        1 + 2**-8,
        1 - 2**-9,
    ]
    weight = torch.cat([torch.randn(1 << 18) * torch.exp(torch.randn(1 << 18) * 8), torch.tensor(special)])
    upper, rest = halves(weight)
    assert (upper.dtype, rest.dtype) == (torch.bfloat16, torch.int16)
    assert torch.equal(bits(whole(upper, rest)), bits(weight))
    assert upper.isnan().tolist() == weight.isnan().tolist()
    nearest = (upper.float() - weight).abs() == (weight.bfloat16().float() - weight).abs()
    assert nearest[weight.isfinite() & upper.float().isfinite()].all()


class Plain(nn.Module):
    """A matrix of several pieces, a small one, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Parameter(torch.randn(301, 77)), nn.Parameter(torch.randn(9, 5) * 0.02)
        self.vector = nn.Parameter(torch.ones(77))


def test_two_hundred_steps_are_those_of_adamw_over_fp32_weights_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.split._PIECE", 4096)
    torch.manual_seed(0)
    exact, kept = Plain(), Plain()
    groups = [{"params": [exact.large, exact.small], "weight_decay": 0.1}, {"params": [exact.vector]}]
    reference = torch.optim.AdamW(groups, lr=5e-5, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    first = {name: value.clone() for name, value in exact.state_dict().items()}
    kept.to(torch.bfloat16)
    remainders = Remainders(kept)
    remainders.load(first)
    halved = [{"params": [kept.large, kept.small], "weight_decay": 0.1}, {"params": [kept.vector]}]
    ours = SplitAdamW(halved, lr=5e-5, betas=(0.9, 0.95), remainders=remainders)
    for step in range(200):
        for parts in range(2):  # two micro-batches
            for name, parameter in kept.named_parameters():
                gradient = (torch.randn(parameter.shape) * 1e-3).bfloat16()
                parameter.backward(gradient)
                other = exact.get_parameter(name)
                other.grad = gradient.float() if parts == 0 or other.grad is None else other.grad + gradient.float()
        rate = 5e-5 * (1 + step % 7)
        for optimizer in (reference, ours):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
    found = remainders.state_dict()
    for name, value in exact.state_dict().items():
        assert torch.equal(bits(found[name]), bits(value)), name
        assert not torch.equal(value, first[name])
        for moment in ("exp_avg", "exp_avg_sq"):
            mine = ours.state[kept.get_parameter(name)][moment]
            assert torch.equal(mine, reference.state[exact.get_parameter(name)][moment])


@pytest.mark.parametrize("tied", [False, True])
def test_one_process_learns_what_shards_learn(tied: bool, world: World, data: Rendered, tmp_path: Path) -> None:
    config = TrainConfig(
        data=tmp_path, out=tmp_path, init="-", steps=6, batch_rows=2, row_tokens=256, learning_rate=1e-3
    )
    order = Order(data, steps=6, batch_rows=2, row_tokens=256)
    results = []
    for alone in (False, True):
        learner = learner_of(world, tied=tied, shard_alone=alone)
        assert (learner.remainders is None) == alone
        optimizer = make_optimizer(learner, config)
        found = [take_step(learner, optimizer, order, step, config, world, stop=False) for step in range(6)]
        results.append(
            ([r.losses.sum() for r in found], [r.gradient_norm for r in found], gather_weights(learner, torch.float32))
        )
    (ours, our_norms, weights), (theirs, norms, others) = results
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert our_norms == pytest.approx(norms, rel=1e-2)
    assert set(weights) == set(others)
    for name, value in weights.items():
        assert float((value - others[name]).norm() / others[name].norm()) < 2e-3, name


def test_a_run_goes_on_bit_for_bit_and_its_checkpoint_is_that_of_shards(
    world: World, data: Rendered, tmp_path: Path
) -> None:
    config = TrainConfig(
        data=tmp_path, out=tmp_path, init="-", steps=4, batch_rows=2, row_tokens=256, learning_rate=1e-3
    )
    order = Order(data, steps=4, batch_rows=2, row_tokens=256)
    learner = learner_of(world)
    optimizer = make_optimizer(learner, config)
    for step in range(2):
        take_step(learner, optimizer, order, step, config, world, stop=False)
    checkpoint.save(tmp_path / "c", 2, learner, optimizer, world, keep=1, notes={})
    saved = gather_weights(learner, torch.float32)
    moments = {n: optimizer.state[p]["exp_avg"].clone() for n, p in learner.model.named_parameters()}
    after = [take_step(learner, optimizer, order, s, config, world, stop=False).losses.sum() for s in (2, 3)]
    for alone in (False, True):
        again = build_learner(tiny(), world, precision=torch.bfloat16, shard_alone=alone).train()
        resumed = make_optimizer(again, config)
        checkpoint.restore(tmp_path / "c" / "step-000002", again, resumed)
        for name, value in gather_weights(again, torch.float32).items():
            assert torch.equal(bits(value), bits(saved[name]))
        for name, parameter in again.model.named_parameters():
            moment = resumed.state[parameter]["exp_avg"]
            moment = moment.full_tensor() if alone else moment
            assert moment.dtype == torch.float32
            assert torch.equal(moment, moments[name])
        losses = [take_step(again, resumed, order, s, config, world, stop=False).losses.sum() for s in (2, 3)]
        assert losses == (pytest.approx(after, rel=1e-4) if alone else after)


# --- whole runs


@pytest.fixture(scope="module")
def bf16_run(small_run: list[str]) -> list[str]:
    return [*small_run, "--precision", "bf16"]


@pytest.fixture
def reference(bf16_run: list[str], run_trainer: Run, tmp_path: Path) -> Path:
    run_trainer([*bf16_run, "--out", str(tmp_path / "reference")])
    return tmp_path / "reference"


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_killed_it_goes_on_bit_for_bit_and_in_two_and_four_processes_to_rounding(
    reference: Path, bf16_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    kill = """
import os, signal
from trainer.log import Log
def write(self, record, write=Log.write):
    write(self, record)
    if record.step == 5: os.kill(os.getpid(), signal.SIGKILL)
Log.write = write
"""
    out = tmp_path / "killed"
    run_trainer([*bf16_run, "--out", str(out)], code=-signal.SIGKILL, first=kill)
    shutil.copytree(out, tmp_path / "two")
    run_trainer([*bf16_run, "--out", str(out)])
    wanted = [(record["loss"], record["gradient_norm"]) for record in log(reference)]
    assert [(record["loss"], record["gradient_norm"]) for record in log(out)] == wanted
    assert (out / "model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()
    for processes, name in ((2, "two"), (4, "four")):  # one begun by one process, one begun anew
        run_trainer([*bf16_run, "--out", str(tmp_path / name)], processes=processes)
        assert [record["loss"] for record in log(tmp_path / name)] == pytest.approx(
            [loss for loss, _ in wanted], rel=1e-3
        )
    # And back: from shards to one process.
    back = tmp_path / "four"
    (back / "manifest.json").unlink()
    shutil.rmtree(back / "checkpoints" / "step-000008")
    printed = run_trainer([*bf16_run, "--out", str(back)])
    assert "going on after step 6" in printed
    assert [record["loss"] for record in log(back)] == pytest.approx([loss for loss, _ in wanted], rel=1e-3)
    assert set(load_file(back / "model.safetensors")) == set(load_file(reference / "model.safetensors"))
