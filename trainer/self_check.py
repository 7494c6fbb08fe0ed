"""Before the first step: the proof, on this device with this kernel, that packed examples do not see each other."""

from __future__ import annotations

import numpy as np
import torch

from trainer.batches import Order
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
    """
    plan = max(order.plans, key=lambda p: int(np.diff(p.starts).max()))
    row = plan.row(int(np.diff(plan.starts).argmax()))[:examples]
    learner.eval()
    batches = [order.micro_batch([row], 1, world.device)]
    batches += [order.micro_batch([row[at : at + 1]], 1, world.device) for at in range(len(row))]
    packed, *alone = [learner(batch, order.row_tokens) for batch in batches]
    difference = float((packed - torch.cat(alone)).abs().mean())
    if not difference <= TOLERANCE[precision]:
        raise RuntimeError(
            f"packed examples differ from the same ones alone by {difference:.2g} a target, more than rounding in "
            f"{precision}: the attention on {world.device} looks across examples; report this with your versions"
        )
    return difference
