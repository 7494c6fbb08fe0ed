"""Every setting of a training run. The defaults are the DeepSeekMath-Instruct recipe; each flag says its source.

Recipe: arXiv 2402.03300, section 3.2: examples concatenated in random order up to a context of 4,096 tokens,
500 steps, batch 256, constant learning rate 5e-5. What it leaves open is chosen here: betas, weight decay and
clipping are those of DeepSeek LLM (arXiv 2401.02954, section 2.3), a batch counts rows of 4,096 tokens, there is no
warm-up, and examples in one row never see each other.

This file loads no torch: a run that is already complete, or asked for wrongly, ends without waiting for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from sandbox.errors import InputError

Schedule = Literal["constant", "linear", "cosine"]
Overlong = Literal["drop", "error"]
Recompute = Literal["none", "selective", "full"]
Precision = Literal["auto", "fp32", "bf16"]
State = Literal["fp32", "bf16", "sr"]
Tracker = Literal["tensorboard", "wandb", "trackio"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What `python -m trainer` was asked to do; written to `run.json` before the work starts."""

    data: Annotated[Path, "folder made by `python -m dataset mix`: train-*.jsonl and manifest.json"]
    out: Annotated[Path, "folder for the trained model, its checkpoints and its log"]
    model: Annotated[str | None, "model to start from: a folder, or a name on the Hugging Face hub"] = None
    revision: Annotated[str | None, "branch, tag or commit of --model on the hub; default: its main branch"] = None
    init: Annotated[str | None, "start a new model instead: a TOML or JSON file, or a name in trainer/configs"] = None

    steps: Annotated[int, "optimizer steps (2402.03300)"] = 500
    epochs: Annotated[float | None, "passes over the data, instead of --steps; the last step is filled up"] = None
    batch_rows: Annotated[int, "rows in a step, over all processes (2402.03300: batch 256)"] = 256
    row_tokens: Annotated[int, "tokens in a row (2402.03300: context 4,096)"] = 4096
    micro_rows: Annotated[int, "rows that one process computes at a time; changes memory and speed only"] = 1
    repeat: Annotated[bool, "allow more steps than the data fill once; each pass has a new random order"] = False
    source_weights: Annotated[str | None, "times a pass shows a source, style or language: gsm8k=2,math/cot=0.5"] = None
    overlong: Annotated[Overlong, "examples longer than a row: leave out and list them, or stop"] = "drop"
    pack_buffer: Annotated[int, "examples that wait for a place; more waste less"] = 256

    learning_rate: Annotated[float, "peak learning rate (2402.03300)"] = 5e-5
    schedule: Annotated[Schedule, "learning rate after the warm-up (2402.03300: constant)"] = "constant"
    final_rate: Annotated[float, "share of the peak that linear and cosine schedules end at"] = 0.0
    warmup_steps: Annotated[int, "steps of linear warm-up (the paper names none)"] = 0
    beta1: Annotated[float, "AdamW's first decay rate (2401.02954)"] = 0.9
    beta2: Annotated[float, "AdamW's second decay rate (2401.02954)"] = 0.95
    weight_decay: Annotated[float, "of matrices; gains and biases have none (2401.02954)"] = 0.1
    clip: Annotated[float, "largest norm of a step's gradient over all parameters (2401.02954)"] = 1.0
    seed: Annotated[int, "order of the examples and first weights of a new model"] = 0

    precision: Annotated[Precision, "of the computation; weights stay fp32. auto: bf16 on CUDA, fp32 on a CPU"] = "auto"
    state: Annotated[State, "weights and moments: fp32; bf16, half the memory; sr: bf16 rounded at random"] = "fp32"
    float8: Annotated[bool, "multiply the layers' matrices in eight bits: faster on a GPU of 8.9 or later"] = False
    lora_rank: Annotated[int | None, "learn adapters of this rank (LoRA), not the weights; exported merged"] = None
    lora_alpha: Annotated[float, "adapters count alpha / rank times"] = 32.0
    adapters: Annotated[bool, "with --lora-rank: also write the adapters alone, for peft, into OUT/adapter"] = False
    recompute: Annotated[Recompute, "activations computed again in the backward pass: less memory, more time"] = "none"
    compile: Annotated[bool, "compile each decoder layer (torch.compile)"] = False
    deterministic: Annotated[bool, "on a GPU, add in one order: the same run has the same bits, as on a CPU"] = False
    threads: Annotated[int | None, "CPU threads of each process; default: torch's choice"] = None
    export: Annotated[Literal["bf16", "fp32"], "number format of the exported weights"] = "bf16"

    checkpoint_every: Annotated[int, "steps between checkpoints; one is also written on SIGTERM and Ctrl-C"] = 100
    keep: Annotated[int, "checkpoints to keep"] = 2
    last_checkpoint: Annotated[bool, "keep a checkpoint after the last step: such a run can be made longer"] = True
    heldout: Annotated[Path | None, "JSON Lines like the training files, not learned: their loss is logged"] = None
    heldout_every: Annotated[int, "steps between two looks at the held-out examples; the last step has one"] = 50
    sample_every: Annotated[int | None, "steps between looks at what the model writes for a few prompts"] = None
    samples: Annotated[int, "how many prompts, of --heldout where there is one"] = 2
    sample_tokens: Annotated[int, "the most that it writes for each; every token is a forward pass"] = 128
    score_every: Annotated[int | None, "steps between exams of the model so far, first one before step 1"] = None
    score_with: Annotated[str | None, "what `python -m evaluator run --benchmark` takes"] = None
    score_flags: Annotated[str, "its other flags, in quotes"] = "--tools --limit 100"
    profile: Annotated[bool, "profile the third step of this start: OUT/profile.txt and OUT/profile.json"] = False
    quiet: Annotated[bool, "no progress bars; the lines of --log-every stay"] = False
    log_every: Annotated[int, "steps between console lines; log.jsonl has every step"] = 1
    report: Annotated[Tracker | None, "also write each step's numbers for this viewer, which must be installed"] = None
    rendered: Annotated[Path | None, "folder for tokenised data, to share between runs; default: OUT/rendered"] = None

    def __post_init__(self) -> None:
        problems = [] if (self.model is None) != (self.init is None) else ["give one of --model and --init"]
        for name in _COUNTS:
            if (value := getattr(self, name)) is not None and value < 1:
                problems.append(f"--{name.replace('_', '-')} is {value}, expected at least 1")
        if self.float8 and (self.row_tokens * self.micro_rows) % 16:
            problems.append(f"--float8 needs rows of a multiple of 16 tokens, --row-tokens is {self.row_tokens}")
        if self.float8 and self.precision == "fp32":
            problems.append("--float8 computes the rest in bf16: leave --precision fp32 out")
        if (self.score_every is None) != (self.score_with is None):
            problems.append("give --score-every and --score-with together")
        if self.adapters and self.lora_rank is None:
            problems.append("--adapters needs --lora-rank: without it there are none")
        if self.revision is not None and (self.model is None or Path(self.model).is_dir()):
            problems.append(f"--revision {self.revision} is of a model on the hub, and --model is none")
        if self.row_tokens < 2:
            problems.append(f"--row-tokens is {self.row_tokens}, expected at least 2")
        if not 0 <= self.warmup_steps <= (math.inf if self.epochs is not None else self.steps):
            problems.append(f"--warmup-steps is {self.warmup_steps}, expected 0 to --steps {self.steps}")
        for name, low, high in (("learning_rate", 0, 1), ("clip", 0, 1e9), ("lora_alpha", 0, 1e6)):
            if not low < getattr(self, name) <= high:
                problems.append(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected above {low} to {high}")
        if self.epochs is not None and not 0 < self.epochs <= 1e6:
            problems.append(f"--epochs is {self.epochs}, expected above 0 to 1,000,000")
        try:
            read_weights(self.source_weights)
        except InputError as error:
            problems.append(str(error))
        for name in ("final_rate", "weight_decay"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected 0 to 1")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                problems.append(f"--{name} is {getattr(self, name)}, expected 0 to below 1")
        if not 0 <= self.seed < 1 << 63:
            problems.append(f"--seed is {self.seed}, expected 0 to 2^63 - 1")
        if problems:
            raise InputError("; ".join(problems))

    def to_json(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


_COUNTS = (
    "steps", "batch_rows", "micro_rows", "pack_buffer", "lora_rank", "threads", "checkpoint_every", "keep",
    "heldout_every", "log_every", "sample_every", "samples", "sample_tokens", "score_every",
)  # fmt: skip
# What may differ when a run is taken up again: none of these changes what is learned.
_FREE = {
    "out", "threads", "checkpoint_every", "keep", "last_checkpoint", "heldout", "heldout_every", "log_every",
    "sample_every", "samples", "sample_tokens", "score_every", "score_with", "score_flags", "profile", "adapters",
    "report", "rendered", "quiet", "micro_rows", "recompute", "compile", "deterministic",
}  # fmt: skip


def read_weights(text: str | None) -> Mapping[str, float]:
    """What `--source-weights` says, by source, source/style or source/style/language.

    Raises:
        InputError: it is not of the form NAME=NUMBER[,NAME=NUMBER...].
    """
    weights: dict[str, float] = {}
    for part in text.split(",") if text is not None else ():
        name, _, number = part.strip().rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            name = ""
        if not name or not 0 <= weights[name] <= 1000:
            raise InputError(
                f"--source-weights has {part!r}, expected NAME=NUMBER[,NAME=NUMBER…] with numbers from 0 to 1000, "
                "such as gsm8k=2,math/cot=0.5"
            )
    return weights


def same_training(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The settings in which two runs' `to_json` differ so that they learn different things, e.g. "steps 20 -> 30"."""
    defaults = {entry.name: entry.default for entry in fields(TrainConfig)}  # of settings younger than the run
    names = [name for name in other if name not in _FREE and one.get(name, defaults.get(name)) != other[name]]
    if names in (["steps"], ["epochs"]) and one.get("schedule") == "constant":
        before, after = one.get(names[0]), other[names[0]]
        if before is not None and after is not None and before < after:
            return []  # a constant rate does not depend on where the run ends: it may go on further
    return [f"{name} {one.get(name)} -> {other[name]}" for name in names]
