"""A 7B model's steps on one GPU, and what each change to the trainer gains: all in one run of at most six minutes.

    python bench/trainer_gpu.py [--seconds 360] [--rows 16] [--variants halves float8 ...]
    python bench/trainer_gpu.py --count           without a GPU: bytes and operations of a micro-batch

DeepSeekMath's shape (30 layers, hidden 4,096, 32 heads, MLP 11,008, vocabulary 102,400: 6.91B parameters), random
weights, random tokens in packed rows of 4,096 with document lengths like the recipe's (log-normal, mean about 676),
half of the tokens learned; fp32 weights, gradients and moments, bf16 computation, compiled, `--recompute selective`. It
is the trainer's own step, optimizer included.

First comes the device's proof: the attention kernel against fp32 arithmetic document by document. Then the whole model
as the trainer runs it, two rows at a time; then each of VARIANTS with 10 layers, at one row and at two, in a process of
its own: a micro-batch takes `fixed_ms + rows * marginal_ms`. One JSON line each, as long as the time lasts.

MFU counts what the documents need (causal within each, the head at targets only, nothing that is computed twice) and is
of 989 TFLOP/s, the dense bf16 peak of H100 and H200, for float8, too. `recipe_mfu` is that of the recipe's step of 256
rows, in which the optimizer's share is smaller. Without a GPU it says so and ends with exit code 2.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds `trainer.py`, whose name is the package's

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.distributed.fsdp import FSDPModule  # noqa: E402
from torch.distributed.tensor import DTensor  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from transformers import AutoConfig  # noqa: E402

from dataset.files import versions  # noqa: E402
from sandbox.command import run_command  # noqa: E402
from sandbox.errors import InputError  # noqa: E402
from trainer import model as trained  # noqa: E402
from trainer.attention import document_attention  # noqa: E402
from trainer.batches import Order  # noqa: E402
from trainer.config import TrainConfig  # noqa: E402
from trainer.float8 import Float8Linear  # noqa: E402
from trainer.model import Learner, build_learner  # noqa: E402
from trainer.preflight import Size, measure, memory_bytes, step_flops  # noqa: E402
from trainer.render import Rendered  # noqa: E402
from trainer.self_check import prove  # noqa: E402
from trainer.step import make_optimizer, peak_memory_bytes, take_step  # noqa: E402
from trainer.world import World, join  # noqa: E402

PEAK = 989e12  # NVIDIA's data sheets of H100 and H200: bf16, dense
WARM_UP = 2  # steps that allocate, choose kernels and compile
RECIPE_ROWS = 256
LENGTHS, HEADS = [700, 1, 1500, 64, 1831], 32  # of the attention kernel's check
SHAPE = {
    "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 30, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 102_400, "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """What of the trainer is as it was before a change. `predicted_ms`: what the change to it saves of a micro-batch of
    two rows of the whole model, by arithmetic before it was measured."""

    sharded: bool = False  # by FSDP2 in one process, too
    divided: bool = False  # FSDP2 divides gradients by 1, into a copy
    chunk: int | None = trained.HEAD_CHUNK  # None: torch's choice, 32 chunks a row
    proof_rows: int | None = None  # rows in the proof: another number than training makes sizes unknown
    float8: bool = False
    compile: bool = True
    predicted_ms: float | None = None


VARIANTS = {
    "before": Variant(sharded=True, divided=True, chunk=None, proof_rows=1),
    "chunks": Variant(sharded=True, divided=True, proof_rows=1, predicted_ms=13.2),
    "static": Variant(sharded=True, divided=True, predicted_ms=10.0),
    "undivided": Variant(sharded=True, predicted_ms=13.0),
    "halves": Variant(predicted_ms=46.0),
    "float8": Variant(float8=True, predicted_ms=130.0),
    "eager": Variant(compile=False),
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[v for v in VARIANTS if v != "eager"])
    parser.add_argument("--rows", type=int, default=16, help="rows of a step")
    parser.add_argument("--steps", type=int, default=2, help="measured steps")
    parser.add_argument("--layers", type=int, default=10, help="of the variants; the whole model has 30")
    parser.add_argument("--seconds", type=float, default=360, help="no process is begun that would end later")
    parser.add_argument("--whole", action="store_true", help="only the whole model, in this process")
    parser.add_argument("--one", choices=VARIANTS, help="only this variant, in this process")
    parser.add_argument("--count", action="store_true", help="bytes and operations of a micro-batch, without a GPU")
    arguments = parser.parse_args(argv)
    if arguments.count:
        for line in (*count_micro_batches(), float8_errors()):
            print(json.dumps(line), flush=True)
        return 0
    if not torch.cuda.is_available():
        raise InputError("no CUDA device: the 7B step is not measured on this machine")
    if arguments.whole or arguments.one:
        name, layers, rows = ("halves", 30, [2]) if arguments.whole else (arguments.one, arguments.layers, [1, 2])
        report = measure_variant(name, {**SHAPE, "num_hidden_layers": layers}, rows, arguments.rows, arguments.steps)
        print(json.dumps(report), flush=True)
        return 0
    began, longest, failed = time.monotonic(), 0.0, 0
    print(json.dumps(check_kernel("cuda")), flush=True)
    torch.cuda.empty_cache()
    for extra in (["--whole"], *(["--one", name] for name in arguments.variants)):
        if time.monotonic() - began + longest > arguments.seconds:
            print(json.dumps({"not_measured": extra[-1], "because": f"{arguments.seconds} s would not do"}), flush=True)
            continue
        started = time.monotonic()
        failed |= subprocess.run([sys.executable, __file__, *argv, *extra], check=False).returncode
        longest = max(longest, time.monotonic() - started)
    return failed


def check_kernel(device: str) -> dict[str, Any]:
    """How far `document_attention` on the device is from fp32 arithmetic on each document alone, and its gradients.

    Raises:
        RuntimeError: further than bf16 explains, or a document's result depends on another one.
    """
    torch.manual_seed(0)
    lengths, ends = LENGTHS, [0, *np.cumsum(LENGTHS).tolist()]
    borders = torch.tensor([*ends, ends[-1]], dtype=torch.int32, device=device)
    query, key, value = (
        torch.randn(1, HEADS, sum(lengths), 128, device=device, dtype=torch.bfloat16).requires_grad_() for _ in range(3)
    )
    output, _ = document_attention(torch.nn.Module(), query, key, value, None, borders=borders, longest=4096)
    upstream = torch.randn_like(output)
    found = torch.autograd.grad(output, (query, key, value), upstream)
    exact = [x.detach().float().requires_grad_() for x in (query, key, value)]
    parts = []
    for start, end in pairwise(ends):
        q, k, v = (x[:, :, start:end] for x in exact)
        future = torch.ones(end - start, end - start, dtype=torch.bool, device=device).triu(1)
        scores = (q @ k.transpose(2, 3) / 128**0.5).masked_fill(future, -torch.inf)
        parts.append(F.softmax(scores, dim=-1) @ v)
    expected = torch.cat(parts, dim=2).transpose(1, 2)
    gradients = torch.autograd.grad(expected, exact, upstream.float())
    errors = {"output": apart(output, expected)}
    errors |= {name: apart(a, b) for name, a, b in zip(("dq", "dk", "dv"), found, gradients, strict=True)}
    if max(errors.values()) > 0.02:
        raise RuntimeError(f"the attention kernel is wrong on this device, not only rounded: {errors}")
    return {"workload": "attention kernel against fp32, document by document", **errors, **machine()}


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative distance of two tensors, as norms."""
    found, expected = found.detach().float(), expected.detach()
    return round(float((found - expected).norm() / expected.norm()), 5)


def machine() -> dict[str, Any]:
    used = versions("torch", "transformers") | {"cuda": str(torch.version.cuda)}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "versions": used}


def learner_of(variant: Variant, config: TrainConfig, model: Any, world: World) -> Learner:
    """A learner with random weights, as the variant has it."""
    trained.HEAD_CHUNK = variant.chunk  # type: ignore[assignment]
    learner = build_learner(
        model, world, precision=torch.bfloat16, recompute=config.recompute, compile=variant.compile,
        float8=variant.float8, shard_alone=variant.sharded,
    )  # fmt: skip
    for module in learner.modules():
        if variant.divided and isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
    randomise(learner)
    return learner


def measure_variant(name: str, shape: dict[str, Any], micro_rows: list[int], rows: int, steps: int) -> dict[str, Any]:
    """Take steps with a new model of `shape` on the device there is, at each of `micro_rows`; what they took."""
    variant, model = VARIANTS[name], AutoConfig.for_model("llama", **shape)
    size, timed = measure(model), {}
    report: dict[str, Any] = {"workload": "steps", "variant": name, **dataclasses.asdict(variant)}
    report |= {"parameters": size.parameters, "layers": size.layers, "rows_a_step": rows}
    for number in micro_rows:
        torch._dynamo.reset()
        torch.cuda.empty_cache()
        timed[number], found = take_steps(variant, model, size, number, rows, steps)
        report[f"at_{number}_rows"] = found
    if len(timed) == 2:
        (few, one), (many, other) = timed.items()
        marginal = (other - one) / (many - few)
        report |= {"fixed_ms": round(1000 * (one - few * marginal), 2), "marginal_ms": round(1000 * marginal, 2)}
    return {**report, **machine()}


def take_steps(
    variant: Variant, model: Any, size: Size, micro_rows: int, rows: int, measured: int
) -> tuple[float, dict[str, Any]]:
    """Seconds of a micro-batch, and what the steps took."""
    steps = WARM_UP + measured
    config = TrainConfig(
        data=Path(), out=ROOT, init="-", steps=steps, batch_rows=rows, repeat=True, micro_rows=micro_rows,
        recompute="selective", compile=variant.compile, float8=variant.float8, keep=1,
    )  # fmt: skip
    data = random_data(rows=steps * rows, vocabulary=model.vocab_size)
    order = Order(data, steps=steps, batch_rows=rows, row_tokens=config.row_tokens, repeat=True)
    with join() as world:
        estimate = memory_bytes(model, size, config, processes=1, number_bytes=2)
        learner = learner_of(variant, config, model, world)
        optimizer = make_optimizer(learner, config)
        proved = variant.proof_rows or micro_rows
        apart = prove(learner, order, world, torch.bfloat16, micro_rows=proved, float8=variant.float8)
        seconds: list[float] = []
        losses: list[float] = []
        optimizer_seconds: list[float] = []
        optimizer_step = optimizer.step

        def timed_step() -> None:
            began = now(world)
            optimizer_step()
            optimizer_seconds.append(now(world) - began)

        optimizer.step = timed_step  # type: ignore[method-assign,assignment]
        for step in range(steps):
            began = now(world)
            result = take_step(learner, optimizer, order, step, config, world, stop=False)
            seconds.append(now(world) - began)
            losses.append(round(float(result.losses.sum() / order.targets[step]), 4))
            if result.skipped:
                raise RuntimeError(f"step {step} was not finite: {result}")
        peak = peak_memory_bytes(world.device)
    tokens, targets, pairs = (
        int(column[WARM_UP:].sum()) for column in (order.tokens, order.targets, order.squares_within(None))
    )
    flops = step_flops(size, tokens=tokens, targets=targets, squares={None: pairs})
    total, update = sum(seconds[WARM_UP:]), statistics.median(optimizer_seconds[WARM_UP:])
    micro = (statistics.median(seconds[WARM_UP:]) - update) / -(-rows // micro_rows)
    recipe_seconds = micro * -(-RECIPE_ROWS // micro_rows) + update
    return micro, {
        "tokens_per_second": round(tokens / total), "step_seconds": round(statistics.median(seconds[WARM_UP:]), 5),
        "first_step_seconds": round(seconds[0], 1), "micro_batch_ms": round(1000 * micro, 2),
        "optimizer_ms": round(1000 * update, 2), "waste": round(1 - float(order.tokens.mean()) / (rows * 4096), 4),
        "mfu": round(flops / total / PEAK, 4), "aim_mfu": 0.55,
        "recipe_mfu": round(flops / measured * RECIPE_ROWS / rows / recipe_seconds / PEAK, 4),
        "peak_memory_gib": round(peak / 2**30, 1), "estimated_gib": round(estimate / 2**30, 1),
        "proof": round(apart, 5), "losses": losses,
    }  # fmt: skip


def now(world: World) -> float:
    """The clock, once the device has done what it was told."""
    if world.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Copies(TorchDispatchMode):
    """Bytes that copies, casts and sums of whole matrices read and write, by operation, and how many operations ran."""

    KINDS = ("copy_", "_to_copy", "div.", "add_.Tensor", "chunk_cat", "split_with_sizes_copy", "foreach")

    def __init__(self, least: int) -> None:
        super().__init__()
        self.bytes: collections.Counter[str] = collections.Counter()
        self.operations, self._least = 0, least

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, name = function(*args, **(kwargs or {})), str(function)
        self.operations += 1
        if any(kind in name for kind in self.KINDS):
            given, made = ([x for x in tree_leaves(y) if isinstance(x, torch.Tensor)] for y in ((args, kwargs), result))
            # What is written comes back as the result, but was not read where it is only a destination.
            written = [] if name.endswith("copy_.default") or ".out" in name else made
            if any(x.numel() >= self._least for x in given):
                self.bytes[name] += sum(x.numel() * x.element_size() for x in (*given, *written))
        return result


def count_micro_batches() -> list[dict[str, Any]]:
    """What a second micro-batch of a step copies, by variant: on a small Llama on the CPU, and for 6.91B parameters.

    Which operations there are does not depend on the size. Matrices are told from activations by being larger.
    """
    shape = {**SHAPE, "hidden_size": 512, "intermediate_size": 768, "num_hidden_layers": 4, "vocab_size": 512}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 4}
    model, whole = AutoConfig.for_model("llama", **shape), measure(AutoConfig.for_model("llama", **SHAPE))
    config = TrainConfig(data=Path(), out=ROOT, init="-", steps=1, batch_rows=2, row_tokens=256)
    data = random_data(rows=8, vocabulary=512)
    order = Order(data, steps=1, batch_rows=2, row_tokens=256, repeat=True)
    lines = []
    for name in ("before", "undivided", "halves"):
        with join() as world:
            learner = learner_of(dataclasses.replace(VARIANTS[name], compile=False), config, model, world)
            optimizer = make_optimizer(learner.train(), config)
            first, second = order.micro_batches(0)
            learner(first, 256).sum().backward()
            with Copies(least=512 * 512) as copies:
                learner(second, 256).sum().backward()
            del optimizer
        parameters = measure(model).parameters
        chunk = VARIANTS[name].chunk or torch_chunk(targets=2043)
        each = sum(copies.bytes.values()) / parameters
        lines.append({
            "workload": "copies of weights and gradients in a micro-batch", "variant": name,
            "bytes_a_parameter": round(each, 2), "gb_at_7b": round(each * whole.parameters / 1e9, 1),
            "by_operation": {op: round(n / parameters, 2) for op, n in copies.bytes.most_common()},
            "operations": copies.operations, "head_chunks_a_row": -(-2043 // chunk),
            "head_gb_a_row": round(3 * 2 * whole.head * -(-2043 // chunk) / 1e9, 1),
        })  # fmt: skip
    return lines


def float8_errors() -> dict[str, Any]:
    """How far a product of normal numbers in eight bits, and its gradients, are from bf16's, as norms."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(256, 384, bias=False).bfloat16() for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    layers[1].__class__ = Float8Linear
    given = torch.randn(512, 256).bfloat16()
    upstream, inputs = torch.randn(512, 384).bfloat16(), [given.clone().requires_grad_() for _ in layers]
    (exact, rounded) = (layer(x) for layer, x in zip(layers, inputs, strict=True))
    grads = [
        torch.autograd.grad(y, (x, m.weight), upstream)
        for y, x, m in zip((exact, rounded), inputs, layers, strict=True)
    ]
    errors = {"output": apart(rounded, exact.float())}
    errors |= {name: apart(b, a.float()) for name, a, b in zip(("input", "weight"), *grads, strict=True)}
    return {"workload": "float8 against bf16, relative errors: output and gradients of", **errors}


def torch_chunk(*, targets: int) -> int:
    """How many targets torch would take at once for the whole model's head."""
    options = torch.nn.LinearCrossEntropyOptions()._adjust(
        num_batches=targets, in_features=4096, num_classes=102_400, dtype=torch.bfloat16, device=torch.device("cuda")
    )
    return int(options.batch_chunk_size)


def random_data(*, rows: int, vocabulary: int) -> Rendered:
    """Documents of realistic lengths for at least `rows` rows of 4,096; random tokens, the second half learned."""
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(np.log(676) - 0.32, 0.8, rows * 8), 20, 4096).astype(np.int64)
    targets = lengths // 2
    starts = np.cumsum(lengths) - lengths
    tokens = draw.integers(0, vocabulary, int(lengths.sum()), dtype=np.uint32)
    at = np.arange(len(tokens)) - np.repeat(starts, lengths)
    learned = at >= np.repeat(lengths - targets, lengths)
    numbers = np.arange(1, len(lengths) + 1)
    zeros = np.zeros(len(lengths), dtype=np.int64)
    return Rendered(
        lengths=lengths, targets=targets, groups=zeros, names=(("random", "tir", "en"),), lines=numbers,
        files=("random",), _files=zeros, _shards=((tokens, learned),), _starts=starts, _owners=zeros,
    )  # fmt: skip


@torch.no_grad()
def randomise(learner: Learner) -> None:
    """First weights made on the device, shard by shard: a state dict of 28 GB on the CPU would take longer."""
    torch.manual_seed(0)
    for parameter in learner.parameters():
        local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
        if local.dim() >= 2:
            local.normal_(std=0.02)
        else:
            local.fill_(1.0)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
