"""A 7B model's steps on one GPU: tokens a second, step time, peak memory and MFU, eager and compiled.

    python bench/trainer_gpu.py [--micro-rows 1] [--recompute selective] [--batch-rows 32] [--steps 3]

DeepSeekMath's shape (30 layers, hidden 4,096, 32 heads, MLP 11,008, vocabulary 102,400: 6.91B parameters), random
weights, random tokens in packed rows of 4,096 with document lengths like the recipe's (log-normal, mean about 676),
half of the tokens learned; fp32 weights, gradients and moments, bf16 computation. It is the trainer's own step,
optimizer included. First comes the device's proof: the attention kernel against fp32 arithmetic document by document,
and the start-up self-check. The recipe's step is larger (256 rows), so the optimizer's share is larger here.

MFU counts what the documents need (causal within each, the head at targets only, nothing that is computed twice) and is
of 989 TFLOP/s, the dense bf16 peak of H100 and H200. Each mode runs in a process of its own: two models do not fit. One
JSON line each. Without a GPU it says so and ends with exit code 2.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds `trainer.py`, whose name is the package's

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.distributed.tensor import DTensor  # noqa: E402
from transformers import AutoConfig  # noqa: E402

from dataset.files import versions  # noqa: E402
from sandbox.command import run_command  # noqa: E402
from sandbox.errors import InputError  # noqa: E402
from trainer.attention import document_attention  # noqa: E402
from trainer.batches import Order  # noqa: E402
from trainer.config import TrainConfig  # noqa: E402
from trainer.model import Learner, learner_for  # noqa: E402
from trainer.preflight import measure, memory_bytes, step_flops  # noqa: E402
from trainer.render import Rendered  # noqa: E402
from trainer.self_check import prove  # noqa: E402
from trainer.step import make_optimizer, peak_memory_bytes, take_step  # noqa: E402
from trainer.world import join  # noqa: E402

PEAK = 989e12  # NVIDIA's data sheets of H100 and H200: bf16, dense
WARM_UP = 2  # steps that allocate, choose kernels and compile
LENGTHS, HEADS = [700, 1, 1500, 64, 1831], 32  # of the attention kernel's check
SHAPE = {
    "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 30, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 102_400, "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--mode", choices=("eager", "compiled"), help="only this one, in this process")
    parser.add_argument("--micro-rows", type=int, default=1)
    parser.add_argument("--recompute", choices=("none", "selective", "full"), default="selective")
    parser.add_argument("--batch-rows", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="measured steps")
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"], help="fewer for a smaller GPU")
    parser.add_argument("--state", choices=("fp32", "sr"), default="fp32")
    arguments = parser.parse_args(argv)
    if not torch.cuda.is_available():
        raise InputError("no CUDA device: the 7B step is not measured on this machine")
    if arguments.mode is not None:
        shape = {**SHAPE, "num_hidden_layers": arguments.layers}
        print(json.dumps(measure_mode(arguments, shape)), flush=True)
        return 0
    print(json.dumps(check_kernel("cuda")), flush=True)
    torch.cuda.empty_cache()
    failed = 0
    for mode in ("eager", "compiled"):
        failed |= subprocess.run([sys.executable, __file__, *argv, "--mode", mode], check=False).returncode
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


def measure_mode(arguments: argparse.Namespace, shape: dict[str, Any]) -> dict[str, Any]:
    """Take steps with a new model of `shape` on the device there is; what they took."""
    model = AutoConfig.for_model("llama", **shape)
    steps = WARM_UP + arguments.steps
    config = TrainConfig(
        data=Path(), out=ROOT, init="-", steps=steps, batch_rows=arguments.batch_rows, repeat=True,
        micro_rows=arguments.micro_rows, recompute=arguments.recompute, state=arguments.state,
        compile=arguments.mode == "compiled", keep=1,
    )  # fmt: skip
    data = random_data(rows=steps * config.batch_rows, vocabulary=model.vocab_size)
    order = Order(data, steps=steps, batch_rows=config.batch_rows, row_tokens=config.row_tokens, repeat=True)
    size = measure(model)
    with join() as world:
        estimate = memory_bytes(model, size, config, processes=1, number_bytes=2)
        learner = learner_for(config, model, world, torch.bfloat16)
        randomise(learner)
        optimizer = make_optimizer(learner, config)
        isolation = prove(learner, order, world, torch.bfloat16, micro_rows=config.micro_rows)
        learner.train()
        seconds: list[float] = []
        losses: list[float] = []
        for step in range(steps):
            began = time.perf_counter()
            result = take_step(learner, optimizer, order, step, config, world, stop=False)
            if world.device.type == "cuda":
                torch.cuda.synchronize()  # the last update is still running
            seconds.append(time.perf_counter() - began)
            losses.append(round(float(result.losses.sum() / order.targets[step]), 4))
            if result.skipped:
                raise RuntimeError(f"step {step} was not finite: {result}")
        peak = peak_memory_bytes(world.device)
    tokens, targets, pairs = (
        int(column[WARM_UP:].sum()) for column in (order.tokens, order.targets, order.squares_within(None))
    )
    waste = 1 - float(order.tokens.mean()) / (config.batch_rows * config.row_tokens)
    flops = step_flops(size, tokens=tokens, targets=targets, squares={None: pairs})
    total = sum(seconds[WARM_UP:])
    return {
        "workload": "7B step", "mode": arguments.mode, "parameters": size.parameters,
        "tokens_per_second": round(tokens / total), "target_tokens_per_second": round(targets / total),
        "step_seconds": round(statistics.median(seconds[WARM_UP:]), 5), "first_step_seconds": round(seconds[0], 1),
        "rows_a_step": config.batch_rows, "micro_rows": config.micro_rows, "recompute": config.recompute,
        "state": config.state, "waste": round(waste, 4),
        "mfu": round(flops / total / PEAK, 4), "peak_tflops": PEAK / 1e12, "aim_mfu": 0.5,
        "peak_memory_gib": round(peak / 2**30, 1), "estimated_gib": round(estimate / 2**30, 1),
        "isolation_difference": round(isolation, 5), "losses": losses,
        **machine(),
    }  # fmt: skip


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
