"""The exam in the middle of a run: the model so far goes to the evaluator, which is a program of its own.

Trainer and evaluator meet at a folder here as elsewhere: weights are exported, `python -m evaluator run` is started on
them in the first process while the others wait, and its manifests are read. An exam that fails before the first step
ends the run, since its flags are wrong; one that fails later is noted, and the run goes on.

OUT/exams/step-000100/results     what the evaluator wrote: `python -m evaluator table` and `report` read it
                     /evaluator.log   what it said        OUT/exams.jsonl   a line an exam
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dataset.files import read_manifest, write_line
from sandbox.errors import InputError
from trainer.config import TrainConfig
from trainer.export import export
from trainer.model import Learner
from trainer.world import World, first

FILE = "exams.jsonl"
LONGEST_SECONDS = 3000.0  # the other processes wait an hour for the first one, see trainer.world
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


def sit_exam(
    config: TrainConfig, step: int, learner: Learner, tokenizer: Any, world: World, *, stop: Callable[[], bool]
) -> dict[str, float]:
    """The share of right answers by exam after `step` steps, empty where it failed; called in every process.

    Args:
        stop: asked twice a second in the first process; ends the exam.

    Raises:
        InputError: it failed before the first step; the last line that the evaluator said is in it.
    """
    folder = config.out / "exams" / f"step-{step:06d}"
    first(world, lambda: folder.joinpath("model").mkdir(parents=True, exist_ok=True))
    export(folder / "model", learner, tokenizer, world, torch.bfloat16)
    if world.device.type == "cuda":
        torch.cuda.empty_cache()  # the evaluator's engine needs room on the same device
    scores: dict[str, float] = {}

    def examine() -> None:
        began = time.monotonic()
        failure = _run_evaluator(config, folder, stop)
        shutil.rmtree(folder / "model")
        found = {} if failure else _read_scores(folder / "results")
        _note(config.out, step, found, failure, round(time.monotonic() - began, 1))
        if failure and step == 0:
            raise InputError(f"--score-with {config.score_with} fails before the first step: {failure}")
        scores.update({name: part["correct"] / part["of"] for name, part in found.items()})

    first(world, examine)
    return scores


def _run_evaluator(config: TrainConfig, folder: Path, stop: Callable[[], bool]) -> str | None:
    """Run the exam; None, or why there is no score."""
    command = [sys.executable, "-m", "evaluator", "run", "--model", str(folder / "model"), "--name", folder.name]
    command += ["--benchmark", str(config.score_with), "--out", str(folder / "results"), "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name not in _TORCHRUN}
    environment = {name: value for name, value in environment.items() if not name.startswith("TORCHELASTIC_")}
    until = time.monotonic() + LONGEST_SECONDS
    log = folder / "evaluator.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*command, *shlex.split(config.score_flags)], stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        reason = None
        try:
            while process.poll() is None and reason is None:
                time.sleep(0.5)
                if stop():
                    reason = "the run was asked to stop"
                elif time.monotonic() > until:
                    reason = f"it took more than {LONGEST_SECONDS / 60:.0f} minutes: give --score-flags a lower --limit"
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if reason is not None:
        return reason
    if process.returncode or read_manifest(folder / "results") is None:
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return f"exit code {process.returncode}, {(said or ['it said nothing'])[-1]} (all of it: {log})"
    return None


def _read_scores(results: Path) -> dict[str, dict[str, int]]:
    """Right answers and samples of each exam."""
    scores = {}
    for path in sorted(results.iterdir()):
        manifest = read_manifest(path) if path.is_dir() else None
        if manifest is not None:
            scores[path.name] = {"correct": int(manifest.summary["correct"]), "of": manifest.rows_out}
    return scores


def _note(out: Path, step: int, scores: Mapping[str, Mapping[str, int]], failure: str | None, seconds: float) -> None:
    """Add the exam to `OUT/exams.jsonl` and say it."""
    path = out / FILE
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    before = [line for line in before if json.loads(line)["step"] < step]  # a later one was done again
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in before)
        write_line(file, {"step": step, "scores": dict(scores), "failure": failure, "seconds": seconds})
    said = ", ".join(f"{name} {part['correct']} of {part['of']} right" for name, part in scores.items())
    print(f"exam after step {step}: {said if failure is None else 'FAILED, the run goes on: ' + failure}", flush=True)
