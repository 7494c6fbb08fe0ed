"""`--float8`: the layers' products in eight bits, each tensor scaled by its largest number: torchao's "tensorwise".

Operands are float8_e4m3fn, gradients from above float8_e5m2; results are bf16, weights and the sums of their gradients
stay what they are. The head and the loss stay bf16, and so do experts, which are no matrices of their own. A GPU
multiplies such numbers twice as fast (NVIDIA, compute capability 8.9 and later); a CPU shows what accuracy they cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sandbox.errors import InputError
from trainer.lora import adapted

_DIVISOR = 16  # the kernels want it of all three sizes of a product
_FORWARD, _BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2


def _scaled(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`values` in eight bits, and the fp32 number that they must be multiplied with."""
    largest = values.abs().amax().float().clamp(min=1e-12)
    scale = torch.finfo(dtype).max / largest
    limit = torch.finfo(dtype).max
    return (values.float() * scale).clamp(-limit, limit).to(dtype), scale.reciprocal()


def _product(left_MK: Tensor, left_scale: Tensor, right_KN: Tensor, right_scale: Tensor) -> Tensor:
    """bf16, shape (M, N); the kernels read the right matrix by columns."""
    if not left_MK.is_cuda:  # the same numbers and fp32 sums; torch's kernel for CPUs is a hundred times slower
        return ((left_MK.float() @ right_KN.float()) * (left_scale * right_scale)).to(torch.bfloat16)
    by_columns = right_KN.t().contiguous().t()
    return torch._scaled_mm(left_MK.contiguous(), by_columns, left_scale, right_scale, out_dtype=torch.bfloat16)


class _Float8Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input_TC: Tensor, weight_OC: Tensor) -> Tensor:
        input8, input_scale = _scaled(input_TC, _FORWARD)
        weight8, weight_scale = _scaled(weight_OC, _FORWARD)
        ctx.save_for_backward(input8, input_scale, weight8, weight_scale)
        return _product(input8, input_scale, weight8.t(), weight_scale)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        input8, input_scale, weight8, weight_scale = ctx.saved_tensors
        upstream8_TO, scale = _scaled(upstream[0], _BACKWARD)
        needs_input, needs_weight = ctx.needs_input_grad
        to_input = _product(upstream8_TO, scale, weight8, weight_scale) if needs_input else None
        to_weight = _product(upstream8_TO.t(), scale, input8, input_scale) if needs_weight else None
        return to_input, to_weight


class Float8Linear(nn.Linear):
    """A linear layer whose product, and those of its gradients, are in eight bits."""

    exact = False  # of all of them: bf16 products, to compare with

    def forward(self, input: Tensor) -> Tensor:
        if Float8Linear.exact:
            return F.linear(input, self.weight, self.bias)
        output: Tensor = _Float8Product.apply(input.reshape(-1, self.in_features), self.weight)  # type: ignore[no-untyped-call]
        output = output if self.bias is None else output + self.bias
        return output.view(*input.shape[:-1], self.out_features)


@contextmanager
def in_bf16() -> Iterator[None]:
    """While the block lasts, products that are in eight bits otherwise are bf16."""
    Float8Linear.exact = True
    try:
        yield
    finally:
        Float8Linear.exact = False


def use_float8(model: Any, device: torch.device) -> None:
    """Have the layers of `model` multiply in eight bits, in place, where the sizes of a matrix allow it.

    Raises:
        InputError: the device cannot, or no matrix of the model has such sizes.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 9):
        name = torch.cuda.get_device_name(device)
        raise InputError(f"--float8 needs a GPU of compute capability 8.9 or later (L40, H100, H200), this is {name}")
    fitting = [x for x in adapted(model).values() if not x.in_features % _DIVISOR and not x.out_features % _DIVISOR]
    if not fitting:
        raise InputError(f"--float8: no matrix in the layers has two sizes that {_DIVISOR} divides")
    for linear in fitting:
        linear.__class__ = Float8Linear
