"""The model as it is trained: sharded over all processes, its loss computed where its head is whole.

One path from one CPU process to many GPUs: `fully_shard` at world size 1, too, so that what the tests run is what a
cluster runs. Weights stay fp32, unless `--state` says otherwise; computation may be bf16, sums of gradients are fp32.

It refuses architectures it has not been checked with: a head with a scale, a cap or a second norm would train to a
plausible but wrong loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from transformers import AutoConfig, AutoModelForCausalLM

from sandbox.errors import InputError
from trainer.attention import NAME
from trainer.batches import MicroBatch
from trainer.config import Recompute, State, TrainConfig
from trainer.lora import add_adapters, with_adapters
from trainer.world import World

# model_type: decoder layers at `model.layers`, plain head, rotary positions at `model.rotary_emb`.
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


class Learner(nn.Module):
    """A causal language model that returns its loss at each target.

    It is the root of the shards: embedding, last norm and head are gathered for the whole of its forward pass.

    Attributes:
        lora_scale: what the products of adapters are multiplied with; None without adapters.
    """

    def __init__(self, model: Any, lora_scale: float | None = None) -> None:
        super().__init__()
        self.model = model
        self.lora_scale = lora_scale

    def forward(self, batch: MicroBatch, longest: int) -> Tensor:
        """The cross-entropy of each target, float32, shape (N,). Positions without a target never reach the head."""
        hidden_TC = self.hidden(batch, longest)
        return target_losses(hidden_TC[batch.where_N], self.model.get_output_embeddings().weight, batch.labels_N)

    def hidden(self, batch: MicroBatch, longest: int) -> Tensor:
        """What the head would see, shape (T, C)."""
        output = self.model.get_decoder()(
            input_ids=batch.tokens_1T,
            position_ids=batch.positions_1T,
            use_cache=False,
            borders=batch.borders,
            longest=longest,
        )
        hidden_TC = output.last_hidden_state[0]
        assert isinstance(hidden_TC, Tensor)
        return hidden_TC


def target_losses(hidden_NC: Tensor, head_VC: Tensor, labels_N: Tensor) -> Tensor:
    """Cross-entropy of each label, float32, shape (N,); no gradient is lost where N is 0."""
    if hidden_NC.is_cuda and len(labels_N):
        return target_losses_in_pieces(hidden_NC, head_VC, labels_N)
    return F.cross_entropy(F.linear(hidden_NC, head_VC).float(), labels_N, reduction="none")


def target_losses_in_pieces(hidden_NC: Tensor, head_VC: Tensor, labels_N: Tensor) -> Tensor:
    """The same without ever holding all logits; on a CPU it is slower.

    torch sums in fp32 and returns each loss in the format of `hidden_NC`: in bf16 a single loss is right to 0.4 %,
    their mean much better, and the gradients do not pass through it.
    """
    options = nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(hidden_NC, head_VC, labels_N, reduction="none", options=options).float()


def read_model_config(model: str) -> Any:
    """The configuration of a model folder or name.

    Raises:
        InputError: there is none, or it is of an architecture that is not trained here.
    """
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise InputError(f"no model can be loaded from {model!r}: {str(error).splitlines()[0]}") from None
    if config.model_type not in ARCHITECTURES:
        raise InputError(f"{model!r} is of type {config.model_type!r}; trained here are {', '.join(ARCHITECTURES)}")
    return config


def build_learner(
    config: Any,
    world: World,
    *,
    precision: torch.dtype,
    recompute: Recompute = "none",
    compile: bool = False,
    state: State = "fp32",
    lora_rank: int | None = None,
    lora_alpha: float = 32.0,
) -> Learner:
    """A sharded learner on `world`'s device, its weights not set yet: see `load_weights`."""
    dtype = torch.float32 if state == "fp32" else torch.bfloat16
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=NAME)
        if lora_rank is not None:
            add_adapters(model, lora_rank, lora_alpha)
    decoder = model.get_decoder()
    for layer in decoder.layers:
        _set_recompute(layer, recompute)
        if compile:
            layer.compile()
    learner = Learner(model, None if lora_rank is None else lora_alpha / lora_rank)
    policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32)
    for layer in decoder.layers:
        fully_shard(layer, mesh=world.mesh, mp_policy=policy)
    fully_shard(learner, mesh=world.mesh, mp_policy=policy)
    for module in learner.modules():
        if isinstance(module, FSDPModule):
            # Gradients are summed: the loss is already divided by the targets of all processes. Not recursive, so
            # on every module. Forced sums, because gloo has no pre-multiplied ones, and nccl's zero bf16 gradients.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    learner.to_empty(device=world.device)
    model.tie_weights()  # to_empty gave each tied name a tensor of its own
    decoder.rotary_emb = type(decoder.rotary_emb)(config).to(world.device)  # not in any checkpoint
    return learner


def learner_for(settings: TrainConfig, config: Any, world: World, precision: torch.dtype) -> Learner:
    """`build_learner` as a run's settings say."""
    return build_learner(
        config,
        world,
        precision=precision,
        recompute=settings.recompute,
        compile=settings.compile,
        state=settings.state,
        lora_rank=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
    )


# What `selective` keeps: matrix products and attention. What is cheap between them is computed again.
_KEPT = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.torch_attn._varlen_attn.default,
)


def _set_recompute(layer: nn.Module, recompute: Recompute) -> None:
    """Keep less of `layer` for its backward pass.

    Its forward is wrapped, not its call: shards are gathered outside, and a compiled layer is compiled with what it
    computes again.
    """
    if recompute == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False}
    if recompute == "selective":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, list(_KEPT))
    forward = layer.forward

    def recomputed(*arguments: Any, **named: Any) -> Any:  # a function: the compiler does not look into a partial
        return checkpoint(forward, *arguments, **named, **options)

    layer.forward = recomputed


def load_weights(learner: Learner, weights: Mapping[str, Tensor], *, seed: int = 0) -> None:
    """Set the weights from a plain model's state dict: the first process's, whatever the others pass.

    `seed` is that of the first values of adapters, where there are any.
    """
    dtypes = {parameter.dtype for parameter in learner.parameters()}
    assert len(dtypes) == 1, f"shards have one format: {dtypes}"
    (dtype,) = dtypes
    if weights and learner.lora_scale is not None:
        weights = with_adapters(learner.model, weights, seed)
    weights = {name: value.to(dtype) for name, value in weights.items()}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=True)
    set_model_state_dict(learner.model, dict(weights), options=options)
    wrong = [name for name, parameter in learner.named_parameters() if parameter.dtype != dtype]
    assert not wrong, f"weights must stay {dtype}: {wrong}"


def pretrained_weights(model: str) -> dict[str, Tensor]:
    """The weights in a model folder or on the hub, fp32, on the CPU.

    Raises:
        InputError: they are missing, or do not match the configuration.
    """
    try:
        loaded, report = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"no weights can be loaded from {model!r}: {str(error).splitlines()[0]}") from None
    if report["missing_keys"] or report["mismatched_keys"]:
        wrong = [*report["missing_keys"], *report["mismatched_keys"]]
        raise InputError(f"the weights of {model!r} do not match its config.json: {len(wrong)} such as {wrong[0]}")
    return dict(loaded.state_dict())


def new_weights(config: Any, seed: int) -> dict[str, Tensor]:
    """First weights of a new model, on the CPU, the same for the same seed."""
    torch.manual_seed(seed)
    return dict(AutoModelForCausalLM.from_config(config, dtype=torch.float32).state_dict())
