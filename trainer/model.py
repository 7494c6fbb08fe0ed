"""The model as it is trained: sharded over all processes, its loss computed where its head is whole.

Weights are fp32, unless `--state` says otherwise; computation may be bf16, sums of gradients are fp32. One process
shards nothing, since FSDP2 would copy every weight and gradient for nobody: where it computes in bf16, its fp32 weights
are kept in halves (`trainer.split`).

Any architecture of transformers is taken whose first loss is that of its own code: see `trainer.architecture` and
`trainer.self_check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from transformers import AutoConfig, AutoModelForCausalLM

from sandbox.errors import InputError
from trainer.architecture import fill_unsaved_buffers, meta_model
from trainer.attention import NAME
from trainer.batches import MicroBatch
from trainer.config import Recompute, State, TrainConfig
from trainer.float8 import in_bf16, use_float8
from trainer.lora import add_adapters, with_adapters
from trainer.split import Remainders, split_parameters
from trainer.world import World

HEAD_CHUNK = 2048  # targets whose logits are held at once


class Learner(nn.Module):
    """A causal language model that returns its loss at each target.

    It is the root of the shards: embedding, last norm and head are gathered for the whole of its forward pass.

    Attributes:
        lora_scale: what the products of adapters are multiplied with; None without adapters.
        remainders: the lower halves of weights that are kept in halves; None where they are not.
        temperature: what logits are divided by; the model's own probabilities are those at 1.
    """

    def __init__(self, model: Any, lora_scale: float | None = None) -> None:
        super().__init__()
        self.model = model
        self.lora_scale = lora_scale
        self.remainders: Remainders | None = None
        self.temperature = 1.0

    def forward(self, batch: MicroBatch, longest: int, *, own: bool = False) -> Tensor:
        """The cross-entropy of each target, float32, shape (N,). Positions without a target never reach the head.

        With `own`, from the model's own logits and attention instead: for one document, to compare with.
        """
        if own:
            return self._own_losses(batch)
        hidden_TC = self.hidden(batch, longest)
        head = replace(head_of(self.model), temperature=self.temperature)
        return target_losses(hidden_TC[batch.where_N], head, batch.labels_N)

    def next_tokens(self, batch: MicroBatch, longest: int) -> Tensor:
        """The likeliest token after each place in `where_N`, shape (N,)."""
        return head_of(self.model).logits(self.hidden(batch, longest)[batch.where_N]).argmax(-1)

    def _own_losses(self, batch: MicroBatch) -> Tensor:
        self.model.set_attn_implementation("eager")
        try:
            # Its code as it stands: nothing compiled or in eight bits, no positions given, its own head.
            with torch.compiler.set_stance("force_eager"), in_bf16():
                logits_TV = self.model(input_ids=batch.tokens_1T, use_cache=False).logits[0]
        finally:
            self.model.set_attn_implementation(NAME)
        logits_NV = logits_TV[batch.where_N].float() / self.temperature
        return F.cross_entropy(logits_NV, batch.labels_N, reduction="none")

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


@dataclass(frozen=True)
class Head:
    """What makes logits of hidden states: scale * (hidden @ weight.T + bias), bounded by a soft cap if there is one.

    What comes out is divided by `temperature`.
    """

    weight_VC: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None
    temperature: float = 1.0

    def logits(self, hidden_NC: Tensor) -> Tensor:
        """Float32, shape (N, V)."""
        logits_NV = F.linear(hidden_NC, self.weight_VC, self.bias_V).float()
        logits_NV = logits_NV if self.scale == 1.0 else logits_NV * self.scale
        logits_NV = logits_NV if self.cap is None else torch.tanh(logits_NV / self.cap) * self.cap
        return logits_NV if self.temperature == 1.0 else logits_NV / self.temperature


def head_of(model: Any) -> Head:
    """The head of a model, with what its configuration does to logits: Granite divides, Cohere multiplies, Gemma caps.

    One that does something else is caught by `trainer.self_check.prove`.
    """
    linear, config = model.get_output_embeddings(), model.config
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return Head(linear.weight, linear.bias, scale, getattr(config, "final_logit_softcapping", None))


def target_losses(hidden_NC: Tensor, head: Head, labels_N: Tensor) -> Tensor:
    """Cross-entropy of each label, float32, shape (N,); no gradient is lost where N is 0."""
    if hidden_NC.is_cuda and len(labels_N):
        return target_losses_in_pieces(hidden_NC, head, labels_N)
    return F.cross_entropy(head.logits(hidden_NC), labels_N, reduction="none")


def target_losses_in_pieces(hidden_NC: Tensor, head: Head, labels_N: Tensor) -> Tensor:
    """The same without ever holding all logits; on a CPU it is slower.

    torch sums in fp32 and returns each loss in the format of `hidden_NC`: in bf16 a single loss is right to 0.4 %,
    their mean much better, and the gradients do not pass through it. torch's own choice of chunks, 64 targets at a
    vocabulary of 102,400, reads the head and writes its gradient 32 times for a row of 4,096 tokens.
    """
    scale = head.scale / head.temperature
    if head.cap is not None or (scale != 1.0 and head.bias_V is not None):  # torch knows neither
        parts = zip(torch.split(hidden_NC, HEAD_CHUNK), torch.split(labels_N, HEAD_CHUNK), strict=True)
        found = [checkpoint(_whole_losses, hidden, head, labels, use_reentrant=False) for hidden, labels in parts]
        return torch.cat(found)
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=HEAD_CHUNK)
    return F.linear_cross_entropy(
        hidden_NC if scale == 1.0 else hidden_NC * scale,
        head.weight_VC,
        labels_N,
        linear_bias=head.bias_V,
        reduction="none",
        options=options,
    ).float()


def _whole_losses(hidden_NC: Tensor, head: Head, labels_N: Tensor) -> Tensor:
    return F.cross_entropy(head.logits(hidden_NC), labels_N, reduction="none")


def read_model_config(model: str, revision: str | None = None) -> Any:
    """The configuration of a model folder or name, at `revision` of the hub.

    Raises:
        InputError: there is none.
    """
    try:
        return AutoConfig.from_pretrained(model, revision=revision or "main")
    except (OSError, ValueError) as error:
        raise InputError(f"no model can be loaded from {model!r}: {str(error).splitlines()[0]}") from None


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
    float8: bool = False,
    shard_alone: bool = False,
) -> Learner:
    """A learner on `world`'s device, its weights not set yet: see `load_weights`.

    With `shard_alone` one process shards as many do: to compare with.
    """
    dtype = torch.float32 if state == "fp32" else torch.bfloat16
    halved = world.size == 1 and not shard_alone and dtype == torch.float32 and precision == torch.bfloat16
    # bf16 weights and fp32 computation: FSDP2 casts.
    sharded = world.size > 1 or shard_alone or (dtype != precision and not halved)
    model = meta_model(config, dtype)
    if float8:
        use_float8(model, world.device)
    if lora_rank is not None:
        with torch.device("meta"):
            add_adapters(model, lora_rank, lora_alpha)
    if halved:
        split_parameters(model)
    decoder = model.get_decoder()
    for layer in decoder.layers:
        _set_recompute(layer, recompute)
        if compile:
            layer.compile()
    learner = Learner(model, None if lora_rank is None else lora_alpha / lora_rank)
    if sharded:
        _shard(learner, decoder.layers, world, precision)
    learner.to_empty(device=world.device)
    model.tie_weights()  # to_empty gave each tied name a tensor of its own
    fill_unsaved_buffers(model)
    if halved:
        learner.remainders = Remainders(model)
    return learner


def _shard(learner: Learner, layers: nn.ModuleList, world: World, precision: torch.dtype) -> None:
    policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32)
    for layer in layers:
        fully_shard(layer, mesh=world.mesh, mp_policy=policy)
    fully_shard(learner, mesh=world.mesh, mp_policy=policy)
    register_fsdp_forward_method(learner, "next_tokens")
    for module in learner.modules():
        if isinstance(module, FSDPModule) and world.size > 1:  # alone it would copy every gradient once more
            # Gradients are summed, and divided by the targets of all processes afterwards. Not recursive, so on every
            # module. Forced sums, because gloo has no pre-multiplied ones, and nccl's zero bf16 gradients.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


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
        float8=settings.float8,
    )


# What `selective` keeps: matrix products and attention. What is cheap between them is computed again.
_KEPT = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_mm.default,
    torch.ops.aten.amax.default,  # of a whole tensor, for float8: one number, which costs a pass
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
    if learner.remainders is not None:
        learner.remainders.load(weights)
        return
    weights = {name: value.to(dtype) for name, value in weights.items()}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=True)
    set_model_state_dict(learner.model, dict(weights), options=options)
    wrong = [name for name, parameter in learner.named_parameters() if parameter.dtype != dtype]
    assert not wrong, f"weights must stay {dtype}: {wrong}"


def pretrained_weights(model: str, revision: str | None = None) -> dict[str, Tensor]:
    """The weights in a model folder or on the hub, at `revision` there, fp32, on the CPU.

    Raises:
        InputError: they are missing, or do not match the configuration.
    """
    try:
        loaded, report = AutoModelForCausalLM.from_pretrained(
            model, revision=revision or "main", dtype=torch.float32, output_loading_info=True
        )
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
