"""Kills a training run with -9 again and again, in the middle of steps and of saves, and compares what it learned.

    python bench/trainer_kills.py [--kills 10] [--seed 0]

A run of 40 steps that saves after each one is killed at a random moment, every other time in the middle of a save, and
started again, until it has been killed as often as asked; then it may end. Its losses, gradient norms and final weights
must equal, bit for bit, those of the same run that nobody killed. Prints one JSON line: `torn` counts the kills that
left a checkpoint half written. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds `trainer.py`, whose name is the package's

from dataset.files import Manifest, sha256  # noqa: E402

STEPS = 40
MODEL = {
    "architecture": "qwen3",
    "tokenizer": {"vocabulary": 400},
    "model": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "tie_word_embeddings": True,
    },
}  # fmt: skip
_CHILD = """
import os, sys
log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1); os.dup2(log, 2)
sys.argv = ["trainer", *flags]
from sandbox.command import run_command
from trainer.__main__ import main
code = run_command(main)
sys.stdout.flush(); sys.stderr.flush()
os._exit(code)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Killed processes leave semaphores of tqdm's behind, which is not worth a line.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_mixture(folder / "data")
        (folder / "model.json").write_text(json.dumps(MODEL))
        began = time.monotonic()
        untouched, killed = folder / "untouched", folder / "killed"
        finish(start(folder, untouched))
        found = harass(folder, killed, arguments.kills, random.Random(arguments.seed))
        one, other = learned(untouched), learned(killed)
        weights = [(out / "model.safetensors").read_bytes() for out in (untouched, killed)]
        equal = {"losses_equal": one == other, "weights_equal": weights[0] == weights[1]}
        report = {"steps": STEPS, **found, **equal, "seconds": round(time.monotonic() - began, 1)}
        print(json.dumps(report), flush=True)
    return 0 if all(equal.values()) and found["kills"] == arguments.kills else 1


def write_mixture(folder: Path) -> None:
    """Sums of two numbers, as `python -m dataset mix` would leave them."""
    draw = random.Random(0)
    rows = []
    for number in range(300):
        a, b = draw.randint(10, 999), draw.randint(10, 999)
        messages = [
            {"role": "user", "content": f"What is {a} + {b}?"},
            {"role": "assistant", "content": f"{a} + {b} = {a + b}. The answer is $\\boxed{{{a + b}}}$."},
        ]
        rows.append({"id": str(number), "source": "sums", "language": "en", "style": "cot", "messages": messages})
    folder.mkdir()
    path = folder / "train-00000.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Manifest(stage="mix", rows_in=300, rows_out=300, outputs={path.name: sha256(path)}).write(folder)


def start(folder: Path, out: Path) -> BaseProcess:
    """The run, in a process that finds torch imported."""
    flags = (
        f"--init {folder / 'model.json'} --data {folder / 'data'} --out {out} --steps {STEPS} --batch-rows 4 --repeat "
        "--row-tokens 256 --learning-rate 3e-3 --schedule cosine --checkpoint-every 1 --threads 1"
    ).split()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.train"])
    process = context.Process(target=exec, args=(_CHILD, {"flags": flags, "output": str(folder / "output")}))
    process.start()
    return process


def finish(process: BaseProcess) -> None:
    process.join(300)
    assert process.exitcode == 0, f"the run ended with {process.exitcode}"


def harass(folder: Path, out: Path, kills: int, draw: random.Random) -> dict[str, Any]:
    """Kill the run `kills` times, then let it end."""
    done = torn = 0
    seen: list[int] = []
    while done < kills:
        process = start(folder, out)
        if not wait(out, process, draw, saving=bool(done % 2), steps=steps_logged(out) + draw.randint(1, 3)):
            break  # it ended before its time came
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        done += 1
        torn += any(not (path / "COMPLETE").exists() for path in (out / "checkpoints").glob("step-*"))
        seen.append(steps_logged(out))
    finish(start(folder, out))
    return {"kills": done, "torn": torn, "killed_at_steps": seen}


def steps_logged(out: Path) -> int:
    path = out / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def learned(out: Path) -> list[tuple[float, float]]:
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(record["loss"], record["gradient_norm"]) for record in records]


def wait(out: Path, process: BaseProcess, draw: random.Random, *, saving: bool, steps: int) -> bool:
    """Wait for a random moment after some steps, inside a save if wanted; False if the run ended before it."""
    while steps_logged(out) < steps:
        if not process.is_alive():
            return False
        time.sleep(0.001)
    if saving:
        while process.is_alive() and not any((out / "checkpoints").glob("step-*.partial")):
            pass
        time.sleep(draw.uniform(0, 0.01))
    else:
        time.sleep(draw.uniform(0, 0.1))
    return process.is_alive()


if __name__ == "__main__":
    raise SystemExit(main())
