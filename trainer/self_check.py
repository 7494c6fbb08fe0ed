"""Before the first step, on this device with these kernels: the proof that what is trained is the model, and how long a
step will take.

The losses of packed examples, computed as in training, must be those of the same examples alone, computed by the
model's own code: its own attention, its own logits. A kernel that looks across examples fails this, and so does an
architecture with a scale, a cap, a window or a second head that the trainer does not know, or that draws at random.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.errors import InputError
from trainer.architecture import windows
from trainer.attention import NoBorders
from trainer.batches import MicroBatch, Order
from trainer.config import TrainConfig
from trainer.model import Learner
from trainer.world import World

# How far the losses of single targets may be from the model's own, on average, and their mean from its mean. Measured
# with SmolLM2-135M (docs/log.md): fp32 2e-6; bf16 0.030 and -0.002; --float8 0.162 and 0.047. What examples see of each
# other shifts the losses of a random model by 0.1 and more; what a trained model lacks raises the mean.
TOLERANCE = {torch.float32: (5e-5, 5e-5), torch.bfloat16: (1e-1, 3e-2), torch.float8_e4m3fn: (5e-1, 1.5e-1)}


@torch.no_grad()
def prove(
    learner: Learner, order: Order, world: World, precision: torch.dtype, *, micro_rows: int, float8: bool = False
) -> float:
    """The mean difference between the losses of packed examples and the model's own of each; in every process.

    The rows have the shape that training uses, so that what is compiled is what training runs. The model is left in
    training mode.

    Raises:
        RuntimeError: the attention kernel looks across examples.
        InputError: the losses are not finite, so the weights are not usable; or the losses are not the model's own, so
            its architecture is not computed correctly here.
    """
    single, mean = TOLERANCE[torch.float8_e4m3fn if float8 else precision]
    row = _chosen(order, learner.model.config)
    empty = [np.array([], dtype=np.int64)] * (micro_rows - 1)

    def batch(examples: NDArray[np.int64]) -> MicroBatch:
        return order.micro_batch([examples, *empty], micro_rows, world.device)

    learner.eval()
    own = torch.cat([learner(_alone(batch(row[at : at + 1])), 0, own=True) for at in range(len(row))])
    learner.train()  # as in training: what is drawn at random there would show
    kind = learner.model.config.model_type
    try:
        packed: Tensor = learner(batch(row), order.row_tokens)
    except NoBorders:
        raise InputError(
            f"{kind!r} cannot be trained: its attention cannot be replaced, so examples would mix"
        ) from None
    if not (torch.isfinite(own).all() and torch.isfinite(packed).all()):
        raise InputError(
            f"the loss is not finite before the first step, computed in {precision}: look for NaN or infinity in the "
            "weights of --model, or compute with --precision fp32"
        )
    difference, shift = _apart(packed, own), float((packed - own).mean())
    if difference <= single and abs(shift) <= mean:
        return difference
    alone = torch.cat([learner(batch(row[at : at + 1]), order.row_tokens) for at in range(len(row))])
    if _apart(packed, alone) > max(single, _apart(alone, own)):
        raise RuntimeError(
            f"packed examples differ from the same ones alone by {_apart(packed, alone):.2g} a target, more than "
            f"rounding in {precision}: the attention on {world.device} looks across examples; please report it"
        )
    raise InputError(
        f"{kind!r} cannot be trained: its own loss of a target is {own.mean():.5f}, ours {packed.mean():.5f}, and "
        f"single ones differ by {difference:.2g}, more than rounding in {precision}: a part of it is not computed here"
    )


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


def _chosen(order: Order, config: object) -> NDArray[np.int64]:
    """Up to four examples that fit one row together, shortest first, of different lengths: what depends on the longest
    position of a batch, as some ropes do, shows in the others. One is longer than the narrowest window, if any is."""
    lengths = order.data.lengths
    usable = np.flatnonzero((lengths <= order.row_tokens) & (order.data.targets > 0))
    by_length = usable[np.argsort(lengths[usable], kind="stable")]
    narrowest = min((window for window in windows(config) if window is not None), default=0)
    past = by_length[lengths[by_length] > narrowest]
    wanted = [past[0]] if narrowest and len(past) else []
    wanted += [by_length[len(by_length) * quarter // 4] for quarter in (1, 3, 2)]
    chosen: list[int] = []
    for index in wanted:
        if index not in chosen and int(lengths[[*chosen, index]].sum()) <= order.row_tokens:
            chosen.append(int(index))
    return np.array(sorted(chosen, key=lambda index: int(lengths[index])), dtype=np.int64)


def _alone(batch: MicroBatch) -> MicroBatch:
    """The first document of a batch, without what follows it."""
    length = int(batch.borders[1])
    return MicroBatch(
        batch.tokens_1T[:, :length], batch.positions_1T[:, :length], batch.borders[:2], batch.where_N, batch.labels_N,
        batch.groups_N,
    )  # fmt: skip


# A step's arithmetic in forward passes: one, and two for the gradients; what is computed again adds to that.
_PASSES = {"none": 3.0, "selective": 3.3, "full": 4.0}


@torch.no_grad()
def expect_seconds(learner: Learner, order: Order, world: World, config: TrainConfig) -> float:
    """About how long a step will take: from one forward pass, timed after a first one; in every process."""
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
