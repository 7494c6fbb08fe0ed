"""Real tokens a CPU second, beside TRL's SFTTrainer, packed and padded, on the same machine in the same minutes.

    python bench/trainer.py [--rounds 12] [--seconds 300]

A Llama of 9M parameters (6 layers, 256 wide, a vocabulary of 8,192 learned from the data), new, fp32, learns GSM8K's
training problems as chats. All trainers get the same tokens, masks and first weights, one thread, and steps of about
4,096 real tokens; they take turns step by step, so that a busy machine is busy for all, and ratios are medians over
rounds. `reference` is plain transformers, one example at a time, in our order: the losses of ours must be its losses.
Padding counts for nothing. TRL comes from an environment of its own under `--environment`, made on the first run with
the torch and transformers of this one. Prints JSON lines; needs ../shared/data (GSM8K).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds this file, whose name is the package's

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402

from dataset.files import Manifest, read_jsonl, sha256, versions  # noqa: E402
from dataset.transcript import prompt, render  # noqa: E402
from dataset.types import Turn  # noqa: E402
from sandbox.command import run_command  # noqa: E402
from sandbox.errors import InputError  # noqa: E402
from trainer.fresh import new_config  # noqa: E402
from trainer.plan import plan  # noqa: E402
from trainer.render import Rendered, find_train_files  # noqa: E402
from trainer.render import render as tokenise  # noqa: E402
from trainer.tokenizer import train_tokenizer  # noqa: E402

DATA = ROOT / ".." / "shared" / "data" / "train" / "gsm8k_train.jsonl"
TRL = "1.16.0"
ROW_TOKENS = 4096
VOCABULARY = 8192
SHAPE = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 4}
KINDS = ("ours", "trl-packed", "trl-padded", "reference")
AIMS = {"trl-packed": 2.5, "trl-padded": 2.0}
WARM_UP = 2  # first steps allocate and choose kernels


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="measured steps of each trainer")
    parser.add_argument("--seconds", type=float, default=300, help="no new round after this time")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--environment", type=Path, default=ROOT / "runs" / "bench" / "trl")
    arguments = parser.parse_args(argv)
    report(workload="plan", **time_plan())
    python = trl_environment(arguments.environment) if set(AIMS) & set(arguments.kinds) else sys.executable
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        parameters = prepare(folder, steps=arguments.rounds + WARM_UP + 1)
        workers = {
            kind: stack.enter_context(worker(kind, folder, python if kind in AIMS else sys.executable))
            for kind in arguments.kinds
        }
        steps = take_turns(workers, arguments.rounds, arguments.seconds)
    used = versions("torch", "transformers") | {"trl": TRL}
    summarise(steps, parameters=parameters, versions=used, load=os.getloadavg()[0])
    return 0


def report(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def time_plan() -> dict[str, Any]:
    """How long it takes to plan the recipe's number of documents, of about its lengths."""
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(np.log(676) - 0.32, 0.8, 776_000), 20, ROW_TOKENS).astype(np.int64)
    began = time.process_time()
    rows = plan(lengths, ROW_TOKENS, seed=0, epoch=0, buffer=256)
    seconds = time.process_time() - began
    return {
        "documents": len(lengths), "mean": round(float(lengths.mean()), 1), "cpu_seconds": round(seconds, 2),
        "rows": rows.rows, "waste": round(rows.waste, 5),
    }  # fmt: skip


def trl_environment(folder: Path) -> Path:
    """The interpreter of an environment that has TRL and sees this one's packages; made if it is not there.

    Raises:
        InputError: it could not be installed.
    """
    python = folder / "bin" / "python"
    stamp = folder / TRL
    if stamp.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing TRL {TRL} into {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # With our packages on its path, pip finds torch and transformers installed and fetches neither.
    (site / "base.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", f"trl=={TRL}"]
    if subprocess.run(install, check=False).returncode:
        raise InputError(f"TRL {TRL} could not be installed into {folder}: is a package index reachable?")
    if list(site.glob("torch-*")) or list(site.glob("transformers-*")):
        raise InputError(f"TRL {TRL} asks for another torch or transformers than is installed here")
    stamp.touch()
    return python


def prepare(folder: Path, *, steps: int) -> int:
    """Mixture, tokenizer, tokens and first weights that all trainers share; the model's parameters."""
    if not DATA.exists():
        raise InputError(f"{DATA} is missing: this bench needs the public GSM8K training problems")
    (folder / "data").mkdir()
    path = folder / "data" / "train-00000.jsonl"
    rows = [chat(row) for _, row in read_jsonl(DATA)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    manifest = Manifest(stage="mix", rows_in=len(rows), rows_out=len(rows), outputs={path.name: sha256(path)})
    manifest.write(folder / "data")
    tokenizer = train_tokenizer((m["content"] for row in rows for m in row["messages"]), VOCABULARY)
    tokenizer.save_pretrained(folder / "model")
    data = tokenise(find_train_files(folder / "data"), folder / "model", folder / "rendered", quiet=True)
    write_tokens(data, folder / "tokens.jsonl")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        new_config({"architecture": "llama", "tokenizer": {}, "model": SHAPE}, tokenizer), dtype=torch.float32
    )
    disable_progress_bar()
    model.save_pretrained(folder / "model")
    mean = float(data.lengths.mean())
    settings = {
        "steps": steps,
        "row_tokens": ROW_TOKENS,
        "padded_batch": round(ROW_TOKENS / mean),
        "learning_rate": 1e-3,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    report(
        workload="data", examples=len(rows), mean_tokens=round(mean, 1),
        targets=round(float(data.targets.sum() / data.lengths.sum()), 3), padded_batch=settings["padded_batch"],
    )  # fmt: skip
    return int(sum(p.numel() for p in model.parameters()))


def chat(row: dict[str, str]) -> dict[str, Any]:
    """A GSM8K problem as the mixture writes it, without the calculator's marks."""
    words = re.sub(r"<<[^>]*>>", "", row["answer"]).replace("####", "The answer is")
    messages = [
        {"role": "user", "content": prompt(row["question"], "cot", "en")},
        {"role": "assistant", "content": render((Turn("text", words),))},
    ]
    return {"id": "", "source": "gsm8k", "style": "cot", "language": "en", "messages": messages}


def write_tokens(data: Rendered, path: Path) -> None:
    """What TRL takes instead of text: token ids, and 1 where they are learned."""
    with path.open("w") as file:
        for index in range(len(data.lengths)):
            tokens, learned = data.example(index)
            print(
                json.dumps({"input_ids": tokens.tolist(), "completion_mask": learned.astype(int).tolist()}), file=file
            )


class Worker:
    """One trainer in a process of its own, that takes a step when told to."""

    def __init__(self, kind: str, folder: Path, python: str | Path) -> None:
        reading, writing = os.pipe()
        self._replies = os.fdopen(reading)
        self._log = folder / f"{kind}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [str(python), str(ROOT / "bench" / "trainer_workers.py"), kind, str(folder), str(writing)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, pass_fds=(writing,), cwd=folder,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        os.close(writing)
        self.answer()  # ready

    def answer(self) -> dict[str, Any]:
        line = self._replies.readline()
        if not line:
            raise RuntimeError(f"the trainer ended: {self._log.read_text()[-3000:]}")
        value: dict[str, Any] = json.loads(line)
        return value

    def step(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()


@contextmanager
def worker(kind: str, folder: Path, python: str | Path) -> Iterator[Worker]:
    started = Worker(kind, folder, python)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def take_turns(workers: dict[str, Worker], rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """The steps of each trainer, one of each in turn."""
    steps: dict[str, list[dict[str, Any]]] = {kind: [] for kind in workers}
    began = time.monotonic()
    for number in range(rounds + WARM_UP):
        if time.monotonic() - began > seconds and number > WARM_UP:
            break
        for kind, one in workers.items():
            steps[kind].append(one.step())
    return steps


def summarise(steps: dict[str, list[dict[str, Any]]], *, parameters: int, **named: Any) -> None:
    """A line a trainer, then one about the losses."""
    rates = {kind: [s["tokens"] / s["cpu"] for s in taken[WARM_UP:]] for kind, taken in steps.items()}
    for kind, taken in steps.items():
        ratios = [a / b for a, b in zip(rates["ours"], rates[kind], strict=True)] if kind in AIMS else []
        report(
            workload=kind, parameters=parameters, rounds=len(rates[kind]),
            tokens_per_cpu_second=round(statistics.median(rates[kind])), slowest=round(min(rates[kind])),
            fastest=round(max(rates[kind])), tokens_a_step=round(statistics.mean(s["tokens"] for s in taken)),
            peak_gib=taken[-1]["peak_gib"], losses=[round(s["loss"], 5) for s in taken],
            **({"ours_over_this": round(statistics.median(ratios), 2), "aim": AIMS[kind],
                "met": statistics.median(ratios) >= AIMS[kind]} if ratios else {}), **named,
        )  # fmt: skip
    if {"ours", "reference"} <= set(steps):
        pairs = [(a["loss"], b["loss"]) for a, b in zip(steps["ours"], steps["reference"], strict=True)]
        apart = max(abs(a - b) / b for a, b in pairs)
        report(workload="losses", steps=len(pairs), ours_and_reference_apart_at_most=apart, met=apart < 1e-3)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
