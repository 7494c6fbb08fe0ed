"""One optimizer step, and the rate it is taken at."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from trainer.batches import MicroBatch, Order
from trainer.config import TrainConfig
from trainer.model import Learner
from trainer.rounded import RoundedAdamW
from trainer.split import SplitAdamW
from trainer.world import World


def make_optimizer(learner: Learner, config: TrainConfig, *, rank: int = 0) -> Optimizer:
    """Fused AdamW, over weights or their halves, or `RoundedAdamW`; matrices decay, gains and biases do not."""
    parameters = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups, betas = [group for group in groups if group["params"]], (config.beta1, config.beta2)
    if config.state == "sr":
        return RoundedAdamW(groups, lr=config.learning_rate, betas=betas, seed=config.seed, rank=rank)
    if learner.remainders is not None:
        return SplitAdamW(groups, lr=config.learning_rate, betas=betas, remainders=learner.remainders)
    return AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of step `step`, counted from 0: linear warm-up, then the schedule down to its share of the peak."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    falling = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * falling)


Objective = Callable[[MicroBatch, Tensor], Tensor]


class Stopped(Exception):
    """The run was asked to stop in the middle of a step, of which nothing is kept; raised in every process."""


@dataclass(frozen=True)
class StepResult:
    """`losses` is the summed loss of each group over all processes."""

    losses: np.ndarray[tuple[int], np.dtype[np.float64]]
    gradient_norm: float
    skipped: bool
    data_seconds: float


def take_step(
    learner: Learner,
    optimizer: Optimizer,
    order: Order,
    step: int,
    config: TrainConfig,
    world: World,
    *,
    objective: Objective | None = None,
    rate: float | None = None,
    stop: Callable[[], bool] | Literal[False] = False,
) -> StepResult:
    """Learn from one batch. A step whose loss or gradient is not finite changes nothing and says `skipped`.

    Args:
        objective: what is lowered instead of the cross-entropy: of a micro-batch and its cross-entropies, shape (N,),
            the loss of each target, whose sum is divided by the step's targets.
        rate: learned at, instead of the schedule's.
        stop: asked before each micro-batch; says the same in every process.

    Raises:
        Stopped: `stop` said so.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step) if rate is None else rate
    sums = torch.zeros(len(order.data.names), dtype=torch.float64, device=world.device)
    targets = int(order.targets[step])
    batches = order.micro_batches(
        step, rank=world.rank, world_size=world.size, micro_rows=config.micro_rows, device=world.device
    )
    data_seconds = 0.0
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        data_seconds += time.perf_counter() - began
        if batch is None:
            break
        if stop and stop():
            optimizer.zero_grad(set_to_none=True)
            raise Stopped
        losses_N = learner(batch, config.row_tokens)
        wanted_N = losses_N if objective is None else objective(batch, losses_N)
        wanted_N.sum().backward()  # divided by the targets afterwards: bf16 would round what passes through the head
        sums.index_add_(0, batch.groups_N, losses_N.detach().double())
    dist.all_reduce(sums)
    gradients = gradients_of(learner, optimizer)
    total = torch.nn.utils.get_total_norm(gradients)
    norm = (total.full_tensor() if isinstance(total, DTensor) else total).item() / targets
    found = sums.cpu().numpy()
    finite = math.isfinite(norm) and bool(np.isfinite(found).all())
    if finite:
        torch._foreach_mul_(gradients, min(1.0, config.clip / (norm + 1e-6)) / targets)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(found, norm, not finite, data_seconds)


def gradients_of(learner: Learner, optimizer: Optimizer) -> list[Tensor]:
    """The gradients that the optimizer will take."""
    if isinstance(optimizer, SplitAdamW):
        return optimizer.gradients
    return [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]


def peak_memory_bytes(device: torch.device) -> int:
    """The most that was held at once: the device's, or on a CPU the process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
