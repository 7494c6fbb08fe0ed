"""LoRA (arXiv 2106.09685) through peft: small matrices beside every matrix of the layers learn, the model does not.

What is exported is the whole model with the products added in: it loads wherever the original does, and one check
covers both. peft puts the layers in; first values, shards, checkpoints and the sum are ours: the model is sharded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sandbox.errors import InputError
from trainer.config import TrainConfig

_DOWN, _UP, _BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer."


def adapted(model: Any) -> dict[str, nn.Linear]:
    """The matrices that get adapters, by name: all in the layers but experts, which are one tensor together."""
    layers = model.get_decoder().layers
    inside = {id(module) for module in layers.modules() if isinstance(module, nn.Linear)}
    return {name: module for name, module in model.named_modules() if id(module) in inside}


def add_adapters(model: nn.Module, rank: int, alpha: float) -> None:
    """Put adapters of `rank` beside the matrices of `model`, in place; only they have gradients afterwards.

    Raises:
        InputError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError("--lora-rank needs peft: pip install 'soroban[lora]'") from None
    dtype = next(model.parameters()).dtype
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(adapted(model)), lora_dropout=0.0)
    inject_adapter_in_model(settings, model)
    model.to(dtype)  # peft makes adapters fp32 beside bf16 weights; shards have one format


def with_adapters(model: nn.Module, weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """`weights` of the plain model under the names that `model` has for them, and first values of its adapters.

    One of the two factors begins at zero, so that the first step starts from the plain model.
    """
    draw = torch.Generator().manual_seed(seed)
    filled: dict[str, Tensor] = {}
    for name, parameter in model.state_dict().items():
        if name.endswith(_DOWN):
            filled[name] = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(filled[name], a=math.sqrt(5), generator=draw)
        elif name.endswith(_UP):
            filled[name] = torch.zeros(parameter.shape)
        else:
            filled[name] = weights[name.replace(_BASE, ".")]
    return filled


def merged(weights: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """A plain model's weights: each matrix plus `scale` times the product of its adapter's factors, summed in fp32."""
    plain: dict[str, Any] = {}
    for name, value in weights.items():
        if name.endswith((_DOWN, _UP)):
            continue
        stem = name.removesuffix(_BASE + "weight")
        if stem + _DOWN in weights:
            down, up = weights[stem + _DOWN].float(), weights[stem + _UP].float()
            value = value.float() + scale * (up @ down)
        plain[name.replace(_BASE, ".")] = value
    return plain


def write_adapter(folder: Path, weights: Mapping[str, Any], settings: TrainConfig, dtype: torch.dtype) -> None:
    """The adapters among `weights` as the folder that peft loads beside the model they were trained on."""
    from peft import LoraConfig

    alone = {name: value for name, value in weights.items() if name.endswith((_DOWN, _UP))}
    folder.mkdir(parents=True, exist_ok=True)
    named = {f"base_model.model.{name.replace('.default', '')}": value.to(dtype) for name, value in alone.items()}
    save_file(
        {name: value.contiguous() for name, value in named.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    LoraConfig(
        r=settings.lora_rank or 0,
        lora_alpha=settings.lora_alpha,  # peft takes fractions, too
        target_modules=sorted(name.removesuffix(_DOWN) for name in alone if name.endswith(_DOWN)),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        base_model_name_or_path=settings.model,
        revision=settings.revision,
        inference_mode=True,
    ).save_pretrained(folder)
