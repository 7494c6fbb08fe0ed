"""Before the first step, on this device with these kernels: the proof that packed examples do not see each other, and
how long a step will take."""

from __future__ import annotations

import time

import numpy as np
import torch

from sandbox.errors import InputError
from trainer.batches import Order
from trainer.config import TrainConfig
from trainer.model import Learner
from trainer.world import World

# Largest mean difference of a target's loss. fp32 sums in another order; bf16 has eight bits. A leak shifts the
# losses of a random model by 0.1 and more.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


@torch.no_grad()
def check_isolation(
    learner: Learner, order: Order, world: World, precision: torch.dtype, *, examples: int = 3
) -> float:
    """The mean difference between the losses of packed examples and of the same ones alone; in every process.

    Raises:
        RuntimeError: they differ by more than rounding: the attention kernel looks across examples.
        InputError: the losses are not finite: the weights are not usable.
    """
    plan = max(order.plans, key=lambda p: int(np.diff(p.starts).max()))
    row = plan.row(int(np.diff(plan.starts).argmax()))[:examples]
    learner.eval()
    batches = [order.micro_batch([row], 1, world.device)]
    batches += [order.micro_batch([row[at : at + 1]], 1, world.device) for at in range(len(row))]
    packed, *alone = [learner(batch, order.row_tokens) for batch in batches]
    if not torch.isfinite(packed).all():
        raise InputError(
            f"the loss is not finite before the first step, computed in {precision}: look for NaN or infinity in the "
            "weights of --model, or compute with --precision fp32"
        )
    difference = float((packed - torch.cat(alone)).abs().mean())
    if not difference <= TOLERANCE[precision]:
        raise RuntimeError(
            f"packed examples differ from the same ones alone by {difference:.2g} a target, more than rounding in "
            f"{precision}: the attention on {world.device} looks across examples; report this with your versions"
        )
    return difference


# A step's arithmetic in forward passes: one, and two for the gradients; what is computed again adds to that.
_PASSES = {"none": 3.0, "selective": 3.3, "full": 4.0}


@torch.no_grad()
def expect_seconds(learner: Learner, order: Order, world: World, config: TrainConfig) -> float:
    """About how long a step will take: from one forward pass, timed after a first one; in every process."""
    learner.eval()
    batches = -(-config.batch_rows // (world.size * config.micro_rows))
    batch = next(
        order.micro_batches(
            0, rank=world.rank, world_size=world.size, micro_rows=config.micro_rows, device=world.device
        )
    )
    for _ in range(2):
        began = time.perf_counter()
        learner(batch, order.row_tokens).sum().item()  # waits for the device
        seconds = time.perf_counter() - began
    return seconds * _PASSES[config.recompute] * batches
