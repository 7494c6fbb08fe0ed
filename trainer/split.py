"""Weights kept in two halves: the bf16 number that the products read, and the 16 bits that it leaves out.

Together they are the fp32 weight, exactly, in the same four bytes: nothing is cast from micro-batch to micro-batch, and
AdamW's steps are those of fp32 weights, bit for bit. Gradients are added up in fp32. The idea is that of Apex's
DistributedFusedAdam (store_param_remainders).

It serves one process that computes in bf16. Several keep fp32 shards, of which a bf16 copy is gathered for each layer:
FSDP2 of torch 2.13 adds up gradients in the format of the shard. Checkpoints hold fp32 weights in both cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

_PIECE = 1 << 24  # weights that are fp32 at once


def halves(weight: Tensor) -> tuple[Tensor, Tensor]:
    """An fp32 tensor as bf16, rounded half up, and the int16 that is missing: `whole` of them is the tensor again.

    Half up, not to even as torch casts: the rest of a tie that is rounded down would not fit 16 bits.
    """
    bits = weight.contiguous().view(torch.int32)
    upper = ((bits + 0x8000) >> 16).to(torch.int16)
    rest = (bits - (upper.to(torch.int32) << 16)).to(torch.int16)
    return upper.view(torch.bfloat16), rest


def whole(upper: Tensor, rest: Tensor) -> Tensor:
    """The fp32 tensor that `halves` was given."""
    bits = upper.contiguous().view(torch.int16).to(torch.int32) << 16
    return (bits + rest).view(torch.float32)


def split_parameters(model: nn.Module) -> None:
    """Make every fp32 parameter of a model without memory (on the meta device) bf16; buffers stay as they are."""
    made: dict[nn.Parameter, nn.Parameter] = {}  # tied ones stay tied
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter not in made:
                made[parameter] = nn.Parameter(parameter.to(torch.bfloat16), requires_grad=parameter.requires_grad)
            module.register_parameter(name, made[parameter])


class Remainders:
    """The lower halves of a model's parameters, which are the upper ones."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._rests = {p: torch.zeros_like(p, dtype=torch.int16) for p in model.parameters()}

    def of(self, parameter: nn.Parameter) -> Tensor:
        return self._rests[parameter]

    def state_dict(self) -> dict[str, Tensor]:
        """The model's state dict with fp32 weights, on the CPU."""
        state: dict[str, Tensor] = {}
        parameters = dict(self._model.named_parameters(remove_duplicate=False))
        for name, value in self._model.state_dict().items():
            if name in parameters:
                value = whole(value, self._rests[parameters[name]])
            state[name] = value.cpu()
        return state

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Set the model to `weights`, fp32, under all names of its state dict."""
        state = self._model.state_dict()
        assert set(weights) == set(state), f"other names: {sorted(set(weights) ^ set(state))[:3]}"
        parameters = dict(self._model.named_parameters(remove_duplicate=False))
        for name, value in state.items():
            if name not in parameters:
                value.copy_(weights[name])
                continue
            upper, rest = halves(weights[name].to(value.device, torch.float32))
            value.copy_(upper)
            self._rests[parameters[name]].copy_(rest)


class SplitAdamW(AdamW):
    """AdamW over weights in halves: the steps of torch's fused AdamW over fp32 weights, bit for bit.

    A hook adds each gradient to its fp32 sum as soon as it is there and lets it go: ten bytes a parameter and
    micro-batch are read and written.
    """

    def __init__(self, params: Any, *, lr: float, betas: tuple[float, float], remainders: Remainders) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=0.0, fused=True)  # its groups, and so its checkpoints
        self._remainders = remainders
        self._sums: dict[Tensor, Tensor] = {}
        self._begun: set[Tensor] = set()  # parameters whose sum has a gradient of this step
        for group in self.param_groups:
            for parameter in group["params"]:
                self._sums[parameter] = torch.empty_like(parameter, dtype=torch.float32)
                parameter.register_post_accumulate_grad_hook(self._add)

    def _add(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        if parameter in self._begun:
            self._sums[parameter].add_(parameter.grad)
        else:
            self._sums[parameter].copy_(parameter.grad)
            self._begun.add(parameter)
        parameter.grad = None

    @property
    def gradients(self) -> list[Tensor]:
        """The fp32 sums of this step's gradients."""
        return [self._sums[p] for group in self.param_groups for p in group["params"] if p in self._begun]

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none=True)
        self._begun.clear()

    def load_moments(self, state: Mapping[str, Mapping[str, Tensor]], names: Mapping[str, nn.Parameter]) -> None:
        """Set the moments from a checkpoint's. torch's own way would cast them to the format of the weights."""
        for name, values in state.items():
            self.state[names[name]] = dict(values)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "closures are for optimizers that evaluate the loss again"
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros((), device=parameter.device)
                    state["exp_avg"], state["exp_avg_sq"] = (
                        torch.zeros_like(parameter, dtype=torch.float32) for _ in range(2)
                    )
                if parameter in self._begun:
                    state["step"] += 1
                    self._update(parameter, state, group)

    def _update(self, parameter: nn.Parameter, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        tensors = (
            parameter,
            self._remainders.of(parameter),
            self._sums[parameter],
            state["exp_avg"],
            state["exp_avg_sq"],
        )
        flat = [tensor.view(-1) for tensor in tensors]
        for start in range(0, parameter.numel(), _PIECE):
            upper, rest, gradient, mean, square = (tensor[start : start + _PIECE] for tensor in flat)
            weight = whole(upper, rest)
            torch._fused_adamw_(
                [weight], [gradient], [mean], [square], [], [state["step"]], lr=group["lr"], beta1=group["betas"][0],
                beta2=group["betas"][1], weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False,
                maximize=False,
            )  # fmt: skip
            new_upper, new_rest = halves(weight)
            upper.copy_(new_upper)
            rest.copy_(new_rest)
