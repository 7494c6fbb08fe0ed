"""AdamW over bf16 weights that rounds at random, so that small updates count on average.

A bf16 number has eight bits. An update of 5e-5 to a weight of 0.02 lies below half of its last bit, and rounding to the
nearest gives the old weight back, at every step: about two weights in five never move. Rounding up with the probability
of the remainder is right on average. Eight bytes a parameter for 16: for machines that cannot hold fp32 weights.

The random numbers depend on seed, step, process and parameter only, so a resumed run repeats them bit for bit at the
same number of processes (at another they differ).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

_PIECE = 1 << 24  # numbers that are fp32 at once


def rounded_(target: Tensor, value: Tensor, draw: torch.Generator) -> None:
    """Write fp32 `value` into bf16 `target`, up or down at random, right on average.

    bf16 is the upper half of an fp32 number: a random lower half is added and the sum cut off. Numbers that bf16 holds
    exactly stay as they are, infinities too.
    """
    bits = value.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=draw)
    target.copy_(((bits + noise) & -(1 << 16)).view(torch.float32))


class RoundedAdamW(Optimizer):
    """AdamW whose weights and moments are bf16, each written by `rounded_`; the arithmetic between is fp32.

    Takes the same groups as torch's; `state` has the same names, so that checkpoints look alike.
    """

    def __init__(
        self, params: Any, *, lr: float, betas: tuple[float, float], seed: int, rank: int, eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        self._seed, self._rank = seed, rank

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "closures are for optimizers that evaluate the loss again"
        draw: torch.Generator | None = None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                if draw is None:  # one sequence a step, the same when the step is done again
                    # Mixed: torch's generator looks at 32 bits of a seed, and steps must not repeat each other's noise.
                    mixed = np.random.SeedSequence((self._seed, self._rank, int(state["step"]))).generate_state(1)[0]
                    draw = torch.Generator(parameter.device).manual_seed(int(mixed))
                _update(parameter, parameter.grad, state, group, draw)


def _update(
    parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any], draw: torch.Generator
) -> None:
    weight, gradient, mean, square = (
        x.to_local() if isinstance(x, DTensor) else x
        for x in (parameter, gradient, state["exp_avg"], state["exp_avg_sq"])
    )
    assert all(x.is_contiguous() for x in (weight, mean, square)), "pieces must be views"
    # By pieces: the fp32 numbers in between would take several times what bf16 saves.
    for start in range(0, weight.numel(), _PIECE):
        part = slice(start, start + _PIECE)
        w, g, m, s = (x.reshape(-1)[part] for x in (weight, gradient, mean, square))
        _update_piece(w, g, m, s, float(state["step"]), group, draw)


def _update_piece(
    weight: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    step: float,
    group: dict[str, Any],
    draw: torch.Generator,
) -> None:
    beta1, beta2 = group["betas"]
    gradient = gradient.float()
    new_mean = mean.float().lerp_(gradient, 1 - beta1)
    new_square = square.float().mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    size = (new_square / (1 - beta2**step)).sqrt_().add_(group["eps"])
    new = weight.float().mul_(1 - group["lr"] * group["weight_decay"])
    new.addcdiv_(new_mean, size, value=-group["lr"] / (1 - beta1**step))
    for target, value in ((weight, new), (mean, new_mean), (square, new_square)):
        rounded_(target, value, draw)
