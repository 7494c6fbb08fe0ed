"""Which models can be trained here: what their configuration says, before any weight is in memory.

There is no list of architectures. A model is refused here if its configuration asks for something that this trainer
does not compute, and by `trainer.self_check.prove` if its first loss is not its own; everything else is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from sandbox.errors import InputError
from trainer.attention import NAME

# Rotary positions whose frequencies depend on the longest position in the batch: transformers' `rope_type`.
_MOVING_ROPES = ("dynamic", "longrope")
_KNOWN_LAYERS = ("full_attention", "sliding_attention")
# Fields of configurations that switch random changes of activations on; all are 0 in most models.
_RANDOM = ("dropout", "pdrop", "layerdrop", "jitter_noise")


def meta_model(config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """The model that `config` describes, with our attention and without memory.

    Raises:
        InputError: it has no causal language model, or one whose parts are not where we look for them.
    """
    kind = config.model_type
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=NAME)
    except (ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
        raise InputError(f"{kind!r} cannot be trained: {str(error).splitlines()[0]}") from None
    decoder = model.get_decoder()
    if not isinstance(getattr(decoder, "layers", None), nn.ModuleList):
        raise InputError(f"{kind!r} cannot be trained: its decoder has no list of `layers`")
    if not isinstance(model.get_output_embeddings(), nn.Linear):
        raise InputError(f"{kind!r} cannot be trained: its head is not one matrix")
    if sinks := [name for name, _ in model.named_parameters() if name.endswith("sinks")]:
        raise InputError(
            f"{kind!r} cannot be trained: its attention has sinks ({sinks[0]}), which are not computed here"
        )
    return model


def check_config(config: Any, *, row_tokens: int) -> None:
    """Refuse what would train to a plausible but wrong loss.

    Raises:
        InputError: names everything in the configuration that is not computed here, and what helps.
    """
    problems = []
    if config.get_text_config() is not config:
        problems.append("it is a model of more than text; give its text model alone")
    for rope in _ropes(config):
        kind = rope.get("rope_type", rope.get("type"))
        limit = _fixed_positions(config, rope)
        if kind in _MOVING_ROPES and row_tokens > limit:
            problems.append(
                f"beyond {limit} positions its {kind} rope depends on the longest example in a row: pass --row-tokens "
                f"{limit} or less"
            )
    if getattr(config, "attn_logit_softcapping", None):
        problems.append("its attention has a soft cap (attn_logit_softcapping), which no kernel here computes")
    if unknown := sorted(set(getattr(config, "layer_types", None) or ()) - set(_KNOWN_LAYERS)):
        problems.append(f"it has layers of type {', '.join(unknown)}; known are {', '.join(_KNOWN_LAYERS)}")
    if problems:
        raise InputError(f"{config.model_type!r} cannot be trained: " + "; ".join(problems))


def _ropes(config: Any) -> list[dict[str, Any]]:
    """The settings of rotary positions: one for all layers, or one for each type of layer."""
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in found.values() if isinstance(value, dict)]
    return nested or [found]


def _fixed_positions(config: Any, rope: dict[str, Any]) -> int:
    """Up to how many positions the frequencies of a moving rope stay what they are."""
    first = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return min(int(first or config.max_position_embeddings), int(config.max_position_embeddings))


def simplify(config: Any) -> tuple[str, ...]:
    """Switch off, in place, whatever changes activations at random; remarks on what is trained otherwise than usual.

    The recipes that we follow have no dropout, and no kernel here computes attention with it. The exported
    configuration says 0, too: it is how the model was trained.
    """
    found = {
        name: float(value)
        for name, value in config.to_dict().items()
        if name.endswith(_RANDOM) and isinstance(value, float | int) and value > 0 and "classifier" not in name
    }
    for name in found:
        setattr(config, name, 0.0)
    remarks = []
    if found:
        remarks.append("trained without its " + ", ".join(f"{name} {found[name]:g}" for name in sorted(found)))
    if getattr(config, "num_experts_per_tok", None):
        remarks.append("a mixture of experts: trained without the auxiliary loss that evens out their load")
    return tuple(remarks)


def windows(config: Any) -> list[int | None]:
    """For each layer, how many tokens a token sees, itself counted; None: all before it."""
    width = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return [width if kind == "sliding_attention" else None for kind in kinds]


def unsaved_buffers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Name, module and value of each buffer that is in no checkpoint: rotary frequencies, scales of embeddings."""
    for path, module in model.named_modules():
        for name in sorted(module._non_persistent_buffers_set):
            if isinstance(value := module._buffers.get(name), Tensor):
                yield f"{path}.{name}", module, value


@torch.no_grad()
def fill_unsaved_buffers(model: Any) -> None:
    """Compute, on the model's device, the buffers that are in no checkpoint, as transformers does when it loads one.

    Raises:
        InputError: one of them is not computed by the model's own code.
    """
    found = list(unsaved_buffers(model))
    for _, _, value in found:
        value.fill_(float("nan") if value.is_floating_point() else torch.iinfo(value.dtype).min)
    for module in {id(module): module for _, module, _ in found}.values():
        for parameter in module.parameters(recurse=False):
            setattr(parameter, "_is_hf_initialized", True)  # noqa: B010 - transformers' mark: it leaves them alone
        model._init_weights(module)
    for name, _, value in found:
        left = value.isnan() if value.is_floating_point() else value == torch.iinfo(value.dtype).min
        if left.any():
            raise InputError(
                f"{model.config.model_type!r} cannot be trained: its buffer {name} is in no checkpoint, and its code "
                "does not say how it is computed"
            )
