"""What a run will need, known before its first step: memory, disk, and arithmetic per step."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sandbox.errors import InputError
from trainer.architecture import meta_model, windows
from trainer.config import TrainConfig
from trainer.lora import adapted
from trainer.model import HEAD_CHUNK
from trainer.world import World

# A parameter's number, of which there are four: weight and gradient, and AdamW's two moments.
_NUMBER_BYTES = {"fp32": 4, "bf16": 2, "sr": 2}
# Dense bf16 peaks without sparsity, in FLOP/s (NVIDIA's data sheets), by a part of the device's name.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}


@dataclass(frozen=True)
class Size:
    """Parameters of a model, and what its arithmetic depends on.

    Attributes:
        parameters: all of them.
        body: those in the layers that multiply a token: of a mixture's experts, as many as a token visits.
        layer: those of the largest layer, all experts counted: what is gathered at once.
        head: those of the head.
        attention_width: query heads times the mean dimension of a key and a value.
        inner: numbers that a token has between the matrices of a layer's MLP, or of the experts that it visits.
        windows: layers by how many tokens a token sees in them; None is all before it.
    """

    parameters: int
    body: int
    layer: int
    head: int
    layers: int
    attention_width: int
    inner: int
    windows: Mapping[int | None, int]


def measure(config: Any) -> Size:
    """The size of the model that `config` describes, without making it.

    Raises:
        InputError: it cannot be trained here.
    """
    model = meta_model(config)
    layers = model.get_decoder().layers
    matrices = [p for p in layers.parameters() if p.dim() >= 2]
    # Experts are one tensor of three dimensions a layer, the first of which counts them.
    experts = next((p.shape[0] for p in matrices if p.dim() == 3), 0)
    visited = int(getattr(config, "num_experts_per_tok", None) or experts)
    body = sum(p.numel() * visited // p.shape[0] if p.dim() == 3 else p.numel() for p in matrices)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if getattr(config, "qk_nope_head_dim", None):  # DeepSeek's latent attention
        head_dim = (config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim) // 2
    inner = int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    if experts:
        width = int(getattr(config, "moe_intermediate_size", None) or inner)
        shared = getattr(config, "shared_expert_intermediate_size", None)
        inner = width * (visited + int(getattr(config, "n_shared_experts", None) or 0)) + int(shared or 0)
    return Size(
        parameters=sum(p.numel() for p in model.parameters()),
        body=body,
        layer=max(sum(p.numel() for p in layer.parameters()) for layer in layers),
        head=config.vocab_size * config.hidden_size,
        layers=config.num_hidden_layers,
        attention_width=head_dim * config.num_attention_heads,
        inner=inner,
        windows=Counter(windows(config)),
    )


def step_flops(
    size: Size, *, tokens: int, targets: int, squares: Mapping[int | None, int], frozen: bool = False
) -> float:
    """Floating-point operations of a step, forward and backward, without what is computed twice.

    Two for a multiplication and addition, three times for forward and both gradients: 6 a parameter and token, the
    head at targets only; attention 12 a layer, channel and pair of tokens, of which half are in the past: `squares`
    has the pairs by window, as `Order.squares_within` counts them. Weights that are `frozen` beside adapters have no
    gradient: 4, the adapters' own work not counted.
    """
    pairs = sum(layers * squares[window] for window, layers in size.windows.items()) / 2
    body = (4.0 if frozen else 6.0) * (size.body * tokens + size.head * targets)
    return body + 12 * size.attention_width * pairs


def adapter_parameters(config: Any, rank: int) -> int:
    """What LoRA of `rank` adds: (inputs + outputs) x rank a matrix of the layers."""
    linears = adapted(meta_model(config))
    return rank * sum(linear.in_features + linear.out_features for linear in linears.values())


def peak_flops(device: torch.device) -> float | None:
    """What the device can do at most in bf16, where we know it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


def memory_bytes(config: Any, size: Size, settings: TrainConfig, *, processes: int, number_bytes: int) -> int:
    """About what one process will hold at its peak.

    States are even over the processes. Kept for a token and layer: 16 vectors of the hidden and 4 of the inner
    width, fitted to a 7B Llama in bf16 (21 to 28 GiB for 4,096 tokens and 30 layers); under full recomputation only
    a layer's input, and under selective its matrix products and attention, beside one layer that is live.
    """
    hidden, inner = config.hidden_size, size.inner
    layer = (16 * hidden + 4 * inner) * number_bytes
    kept = {"none": layer, "selective": (6 * hidden + 2 * inner) * number_bytes, "full": hidden * number_bytes}
    tokens = settings.micro_rows * settings.row_tokens
    activations = tokens * (size.layers * kept[settings.recompute] + (0 if settings.recompute == "none" else layer))
    # One process gathers nothing; the gradients of embedding and head are there before they are added to their sums.
    gathered = 2 * size.head * number_bytes + (0 if processes == 1 else 2 * size.layer * number_bytes + size.head * 4)
    gathered += HEAD_CHUNK * (size.head // config.hidden_size) * 4  # logits
    return states_bytes(config, size, settings) // processes + int(activations + gathered)


def states_bytes(config: Any, size: Size, settings: TrainConfig) -> int:
    """Weights, gradients and moments of all processes together; frozen weights have neither of the others."""
    number = _NUMBER_BYTES[settings.state]
    if settings.lora_rank is None:
        return 4 * number * size.parameters
    return number * (size.parameters + 4 * adapter_parameters(config, settings.lora_rank))


def choose_precision(settings: TrainConfig, world: World) -> torch.dtype:
    """The format of the computation.

    Raises:
        InputError: one that the device's kernels do not have.
    """
    on_gpu = world.device.type == "cuda"
    if settings.precision == "bf16" or settings.float8 or (settings.precision == "auto" and on_gpu):
        return torch.bfloat16
    if on_gpu:
        raise InputError("--precision fp32: the GPU's attention kernel computes in bf16 only; leave the flag out")
    return torch.float32


def check_resources(
    config: Any, size: Size, settings: TrainConfig, world: World, number_bytes: int, *, reference_bytes: int = 0
) -> int:
    """The memory estimate, if it and the checkpoints fit. `reference_bytes` are those of a frozen model beside it.

    Raises:
        InputError: the memory of a process's device, or the disk under `--out`, is too small, or a compiler is missing;
            says what would help.
    """
    if settings.compile and world.device.type == "cpu":
        check_compiler()
    need = memory_bytes(config, size, settings, processes=world.size, number_bytes=number_bytes) + reference_bytes
    if world.device.type == "cuda":
        have = torch.cuda.mem_get_info(world.device)[1]
    else:
        have = _available_bytes() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if need > have:
        if reference_bytes:
            raise InputError(
                f"about {need / 2**30:.1f} GiB are needed, {reference_bytes / 2**30:.1f} of them for the reference "
                f"(--kl 0: none), and {have / 2**30:.1f} GiB are there: use --kl 0, smaller --micro-rows, "
                "--recompute full, --state sr, or shorter --row-tokens"
            )
        raise InputError(
            f"about {need / 2**30:.1f} GiB are needed in each process and {have / 2**30:.1f} GiB are there: use more "
            "processes (torchrun), smaller --micro-rows, --recompute full, --state sr, or shorter --row-tokens"
        )
    if world.device.type == "cuda" and world.leads:
        check_host(size, settings)
    # A checkpoint has all but the gradients; the export is at most fp32.
    ends = settings.steps - (0 if settings.last_checkpoint else 1)
    written = max(1, -(-ends // settings.checkpoint_every))  # at least one: a signal may ask for it
    most = min(settings.keep + 1, written)
    disk = states_bytes(config, size, settings) * 3 // 4 * most + 4 * size.parameters
    # What is there already of this run's checkpoints is written no second time.
    held = sum(path.stat().st_size for path in (settings.out / "checkpoints").rglob("*") if path.is_file())
    free = shutil.disk_usage(settings.out).free + held
    if disk > free:
        raise InputError(
            f"up to {most} checkpoints at a time and the export take {disk / 2**30:.1f} GiB and {settings.out} has "
            f"{free / 2**30:.1f} GiB free: make room, lower --keep, or pass --no-last-checkpoint"
        )
    return need


def check_compiler() -> None:
    """Raise `InputError` if there is no compiler for the C++ that torch.compile writes for a CPU."""
    name = os.environ.get("CXX", "g++")  # as torch chooses it
    if shutil.which(name) is None:
        raise InputError(
            f"--compile needs a C++ compiler, and {name} is not here: install one (Debian: apt install g++), name "
            "another in CXX, or leave the flag out"
        )


def check_host(size: Size, settings: TrainConfig) -> None:
    """Refuse a run whose first process cannot hold the whole model in host memory, as it does at start and end.

    It reads the weights in fp32 and, for --state sr or bf16, casts them; for the export it gathers them and casts.

    Raises:
        InputError: too little is free.
    """
    cast = settings.state != "fp32" or settings.export == "bf16"
    need, free = (6 if cast else 4) * size.parameters, _available_bytes()
    if need > free:
        raise InputError(
            f"the first process holds the whole model in host memory when it starts and when it exports, about "
            f"{need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free: start it on a machine with more"
        )


# Where a container finds the limit that it was given: control groups of version 2, then 1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def _available_bytes() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        entries = dict(line.split(":", 1) for line in file)
    least = int(entries["MemAvailable"].split()[0]) * 1024
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # no such file; "max"
            least = min(least, int(path.read_text(encoding="ascii")))
    return least
