"""Every setting of learning from rewards. The defaults are DeepSeekMath-RL's; each flag says its source.

arXiv 2402.03300, section 4.2: 64 samples of each question, one update after each exploration, 1,024 samples in it (16
questions), KL coefficient 0.04, rate 1e-6, solutions of 1,024 tokens. Solutions are sampled from all tokens,
and learned at the temperature they are sampled at: from another distribution the gradient would be another's.

This file loads no torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from dataset.types import Style
from sandbox.errors import InputError
from trainer.config import Precision, Recompute, Schedule, State, Tracker, TrainConfig

Per = Literal["solution", "token", "budget"]


@dataclass(frozen=True, kw_only=True)
class GrpoConfig:
    """What `python -m improve grpo` was asked to do; written to `run.json` before the work starts."""

    model: Annotated[str, "model to start from, which is also the reference: a folder, or a name on the Hub"]
    problems: Annotated[Path, "problems.jsonl of `python -m dataset build`: questions with answers"]
    out: Annotated[Path, "folder for the model, its checkpoints, its log and all that was sampled"]

    updates: Annotated[int, "explorations, each followed by one update"] = 100
    problems_per_update: Annotated[int, "problems in an exploration (2402.03300: 1,024 samples of 64 each)"] = 16
    samples: Annotated[int, "solutions of each problem: a group (2402.03300)"] = 64
    temperature: Annotated[float, "at which solutions are sampled and learned (2402.03300 names none)"] = 1.0
    redraws: Annotated[int, "times that problems without signal are replaced by others (DAPO; 2402.03300: 0)"] = 0
    style: Annotated[Style, "in words, by a program, by turns"] = "tir"
    new_tokens: Annotated[int, "the model's own tokens in a solution (2402.03300)"] = 1024
    programs: Annotated[int, "outputs that it may read in a solution"] = 8

    kl: Annotated[float, "weight of the divergence from the reference (2402.03300); 0: none, and no reference"] = 0.04
    unbiased_kl: Annotated[bool, "multiply the divergence by the ratio (DeepSeek-V3.2, and TRL's default)"] = False
    clip_low: Annotated[float, "how far a probability may fall in an update (2402.03300 names none; PPO's)"] = 0.2
    clip_high: Annotated[float, "how far it may rise (DAPO: 0.28); both matter with --steps 2 and more only"] = 0.2
    deviation: Annotated[bool, "divide advantages by their group's deviation (Dr. GRPO: no)"] = True
    per: Annotated[Per, "mean by solution (GRPO), by token (DAPO), or a sum over the budget (Dr. GRPO)"] = "solution"
    steps: Annotated[int, "steps in an update, each from a part of the problems (2402.03300: 1)"] = 1

    correct: Annotated[float, "reward of a right answer"] = 1.0
    format: Annotated[float, "reward of an answer in a box at the end, all blocks closed"] = 0.0
    tool_use: Annotated[float, "reward of programs of which the last one raised nothing"] = 0.0
    shuffle_rewards: Annotated[bool, "give every reward to another sample: a control, which must not learn"] = False

    learning_rate: Annotated[float, "peak learning rate (2402.03300)"] = 1e-6
    schedule: Annotated[Schedule, "learning rate after the warm-up"] = "constant"
    warmup_updates: Annotated[int, "updates of linear warm-up"] = 0
    beta1: Annotated[float, "AdamW's first decay rate"] = 0.9
    beta2: Annotated[float, "AdamW's second decay rate (0.999 is PyTorch's and TRL's)"] = 0.999
    weight_decay: Annotated[float, "of matrices"] = 0.0
    clip: Annotated[float, "largest norm of a step's gradient"] = 1.0
    seed: Annotated[int, "order of the problems, and what is sampled"] = 0

    row_tokens: Annotated[int, "tokens in a row, and the longest sequence: prompt, solution and outputs"] = 4096
    micro_rows: Annotated[int, "rows computed at a time; changes memory and speed only"] = 1
    precision: Annotated[Precision, "of the computation; auto: bf16 on CUDA, fp32 on a CPU"] = "auto"
    state: Annotated[State, "weights and moments: fp32; bf16; sr: bf16 rounded at random"] = "fp32"
    lora_rank: Annotated[int | None, "learn adapters of this rank; exported merged"] = None
    recompute: Annotated[Recompute, "activations computed again in the backward pass"] = "none"
    compile: Annotated[bool, "compile each decoder layer"] = False
    threads: Annotated[int | None, "CPU threads of the update; default: torch's choice"] = None
    export: Annotated[Literal["bf16", "fp32"], "number format of the exported weights"] = "bf16"

    backend: Annotated[str | None, "what samples: vllm or transformers (default: vllm where installed)"] = None
    engine: Annotated[str | None, "vLLM's own options, such as gpu_memory_utilization=0.4"] = None
    in_flight: Annotated[int | None, "solutions under way at a time (default: 32 a core)"] = None
    sandbox: Annotated[str | None, "sandbox servers (default: an embedded one)"] = None
    checkpoint_every: Annotated[int, "updates between checkpoints; what was sampled since is not sampled again"] = 10
    keep: Annotated[int, "checkpoints to keep"] = 2
    log_every: Annotated[int, "updates between console lines; log.jsonl has every update"] = 1
    report: Annotated[Tracker | None, "also write each update's numbers for this viewer"] = None

    def __post_init__(self) -> None:
        problems = [
            f"--{name.replace('_', '-')} is {value}, expected at least {least}"
            for name, least in _LEAST.items()
            if (value := getattr(self, name)) is not None and not value >= least
        ]
        rewards = [getattr(self, part) for part in ("correct", "format", "tool_use")]
        if not all(math.isfinite(value) for value in rewards) or not any(rewards):
            problems.append(f"--correct, --format and --tool-use are {rewards}, expected finite numbers, not all 0")
        if not (math.isfinite(self.kl) and math.isfinite(self.clip_high) and self.clip_low <= 1):
            problems.append("--kl and --clip-high must be finite, --clip-low at most 1")
        if self.steps > self.problems_per_update:
            problems.append(f"--steps is {self.steps}, expected at most --problems-per-update")
        if not 0 < self.temperature <= 10:
            problems.append(f"--temperature is {self.temperature}, expected more than 0 to 10: samples must differ")
        if self.new_tokens >= self.row_tokens:
            problems.append(f"--new-tokens is {self.new_tokens}, expected less than --row-tokens {self.row_tokens}")
        if self.style == "cot" and self.tool_use:
            problems.append("--tool-use rewards programs, and --style cot has none")
        try:
            self.training()
        except InputError as error:
            problems.append(str(error))
        if problems:
            raise InputError("; ".join(problems))

    def training(self) -> TrainConfig:
        """What of it is supervised learning's: the same settings, by the same names."""
        shared = {field.name for field in fields(TrainConfig)} & {field.name for field in fields(self)}
        values = {name: getattr(self, name) for name in shared - {"steps"}}
        return TrainConfig(
            **values, data=self.problems, steps=self.updates, warmup_steps=self.warmup_updates, last_checkpoint=True
        )

    def to_json(self) -> dict[str, Any]:
        return _as_json(self)


@dataclass(frozen=True, kw_only=True)
class RoundsConfig:
    """What `python -m improve rounds` was asked to do; written to `run.json` before the work starts."""

    model: Annotated[str, "model to start from: a folder, or a name on the Hub"]
    problems: Annotated[Path, "problems.jsonl of `python -m dataset build`: questions with answers, to be solved"]
    exam: Annotated[Path, "fresh problems of the same form: the exam of every round"]
    out: Annotated[Path, "folder for the rounds"]

    rounds: Annotated[int, "how often"] = 3
    problems_per_round: Annotated[int | None, "problems drawn at random for each round; default: all"] = None
    samples: Annotated[int, "solutions of each problem"] = 8
    temperature: Annotated[float, "at which they are sampled"] = 1.0
    style: Annotated[Style, "in words, by a program, by turns"] = "tir"
    rates: Annotated[str, "keep solutions of problems with such a share of right samples only: LOW:HIGH"] = "0:0.9"
    keep: Annotated[int, "distinct right solutions of a problem, drawn at random, at most"] = 4
    keep_earlier: Annotated[bool, "train on the solutions of earlier rounds, too"] = True
    start: Annotated[Literal["last", "first"], "train the last round's model, or the first again (ReST-EM)"] = "last"
    seed: Annotated[int, "of problems, samples and choice"] = 0
    beside: Annotated[Path | None, "verified solutions to train on in every round, too"] = None

    sample_flags: Annotated[str, "further flags of `evaluator sample`, in quotes"] = ""
    verify_flags: Annotated[str, "further flags of `dataset verify`"] = ""
    mix_flags: Annotated[str, "further flags of `dataset mix`"] = ""
    train_flags: Annotated[str, "further flags of `trainer`: steps, rate, rows"] = "--epochs 1"
    exam_flags: Annotated[str, "further flags of `evaluator run`"] = ""

    def __post_init__(self) -> None:
        problems = [
            f"--{name.replace('_', '-')} is {value}, expected at least 1"
            for name in ("rounds", "problems_per_round", "samples", "keep")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if not 0 < self.temperature <= 10:
            problems.append(f"--temperature is {self.temperature}, expected more than 0 to 10: samples must differ")
        if problems:
            raise InputError("; ".join(problems))

    def to_json(self) -> dict[str, Any]:
        return _as_json(self)


def _as_json(config: GrpoConfig | RoundsConfig) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


_LEAST = {
    "updates": 1, "problems_per_update": 1, "samples": 2, "redraws": 0, "new_tokens": 1, "programs": 0, "kl": 0,
    "clip_low": 0, "clip_high": 0, "steps": 1, "in_flight": 1, "checkpoint_every": 1, "keep": 1, "log_every": 1,
}  # fmt: skip
_FREE = {
    "out", "threads", "micro_rows", "recompute", "compile", "in_flight", "sandbox", "checkpoint_every", "keep",
    "log_every", "report",
}  # fmt: skip


def same_learning(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The settings in which two runs' `to_json` differ so that they learn different things."""
    names = [name for name in other if name not in _FREE and one.get(name) != other[name]]
    if names == ["updates"] and one["schedule"] == "constant" and one["updates"] < other["updates"]:
        return []  # a constant rate does not depend on where the run ends: it may go on further
    if names == ["rounds"] and one["rounds"] < other["rounds"]:
        return []
    return [f"{name} {one.get(name)} -> {other[name]}" for name in names]
