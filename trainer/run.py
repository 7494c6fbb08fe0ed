"""A run: what stays the same from step to step, and what it says before, during and after them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from dataset.files import Manifest, hub_commit, sha256, versions
from dataset.progress import coloured
from sandbox.errors import InputError
from trainer.batches import Order
from trainer.config import TrainConfig
from trainer.heldout import HeldOut
from trainer.log import Log, StepRecord, plot, read_log, show_sample
from trainer.preflight import Size, peak_flops, step_flops
from trainer.render import Rendered, TrainFiles
from trainer.run_folder import run_settings
from trainer.step import StepResult, learning_rate, peak_memory_bytes
from trainer.trackers import open_tracker
from trainer.world import World


@dataclass(frozen=True)
class Run:
    """What stays the same from step to step."""

    config: TrainConfig
    world: World
    tokenizer: Any
    model_config: Any
    data: Rendered
    order: Order
    size: Size
    precision: torch.dtype
    heldout: HeldOut | None
    remarks: tuple[str, ...] = ()  # on the model


def introduce(run: Run, memory: int) -> None:
    """Print what is about to happen: data, plan, model, and one example with what is learned marked."""
    data, order, config = run.data, run.order, run.config
    overlong = int((data.lengths > config.row_tokens).sum())
    print(f"data   {len(data.lengths):,} examples, {data.lengths.sum():,} tokens, {data.targets.sum():,} targets")
    if overlong:
        print(f"       {overlong:,} are longer than a row and left out: {config.out / 'overlong.txt'}")
    seen = ", ".join(f"{source} {times:.2f} times" for source, times in order.times_seen().items())
    waste = 1 - order.tokens.sum() / (config.steps * config.batch_rows * config.row_tokens)
    print(
        f"plan   {config.steps} steps of {config.batch_rows} rows of {config.row_tokens} tokens, "
        f"{config.steps * config.batch_rows:,} rows; {order.targets.mean():,.0f} targets a step, {waste:.2%} waste; "
        f"seen: {seen}"
    )
    if run.heldout is not None:
        print(f"       held out: {len(run.heldout.order.data.lengths):,} examples, every {config.heldout_every} steps")
    peak = peak_flops(run.world.device)
    adapters = "" if config.lora_rank is None else f", adapters of rank {config.lora_rank} learn"
    print(
        f"model  {run.model_config.model_type}, {run.size.parameters:,} parameters{adapters}; {run.world.size} "
        f"process(es) on {run.world.device.type}, about {memory / 2**30:.1f} GiB in each, computed in {run.precision}"
        + ("" if peak is None else f"; mfu is of {peak / 1e12:.0f} TFLOP/s a device")
    )
    for remark in run.remarks:
        print(f"       {remark}")
    first, colour = int(order.plans[0].row(0)[0]), coloured(sys.stdout)
    tokens, learned = data.example(first)
    print(f"sample {data.place(first)}; what is learned is {'green' if colour else 'between » and «'}:")
    print(show_sample(run.tokenizer, tokens.tolist(), learned.tolist(), colour=colour), flush=True)


@contextmanager
def open_log(run: Run, done: int) -> Iterator[Log | None]:
    """The log of the run after `done` steps, for as long as the block lasts; None but in the first process."""
    config = run.config
    if not run.world.leads:
        yield None
        return
    tracker = None if config.report is None else open_tracker(config.report, config.out, config.to_json())
    log = Log(config.out, step=done, steps=config.steps, every=config.log_every, tracker=tracker, quiet=config.quiet)
    try:
        yield log
    finally:
        log.close()


def step_record(
    run: Run, step: int, result: StepResult, seconds: float, heldout: tuple[float, dict[str, float]] | None
) -> StepRecord:
    """What the log says of step `step`, counted from 0."""
    config, order = run.config, run.order
    tokens, targets = int(order.tokens[step]), int(order.targets[step])
    device_peak = peak_flops(run.world.device)
    peak = None if device_peak is None else device_peak * run.world.size
    frozen = config.lora_rank is not None
    squares = {window: int(order.squares_within(window)[step]) for window in run.size.windows}
    flops = step_flops(run.size, tokens=tokens, targets=targets, squares=squares, frozen=frozen)
    groups = zip(run.data.names, result.losses, order.group_targets(step), strict=True)
    return StepRecord(
        step=step + 1,
        loss=float(result.losses.sum() / targets),
        loss_by={"/".join(name): float(loss / count) for name, loss, count in groups if count},
        gradient_norm=result.gradient_norm,
        learning_rate=learning_rate(config, step),
        tokens=tokens,
        targets=targets,
        waste=1 - tokens / (config.batch_rows * config.row_tokens),
        seconds=seconds,
        data_seconds=result.data_seconds,
        peak_memory_bytes=peak_memory_bytes(run.world.device),
        mfu=None if peak is None else flops / seconds / peak,
        peak_flops=peak,
        skipped=result.skipped,
        heldout_loss=None if heldout is None else heldout[0],
        heldout_by=None if heldout is None else heldout[1],
    )


def finish(run: Run, files: TrainFiles, seconds: float) -> None:
    """Draw the run and write its manifest, last of all.

    Raises:
        InputError: every step was skipped.
    """
    config, data = run.config, run.data
    records = read_log(config.out)
    learned = [record for record in records if not record["skipped"]]
    if not learned:
        raise InputError(f"none of {len(records)} steps was finite, so nothing was learned: lower --learning-rate")
    plot(config.out)
    overlong = int((data.lengths > config.row_tokens).sum())
    outputs = [
        path
        for path in sorted(config.out.iterdir())
        if path.is_file() and path.suffix in (".json", ".safetensors", ".jinja")
    ]
    Manifest(
        stage="train",
        rows_in=len(data.lengths),
        rows_out=len(data.lengths) - overlong,
        dropped={"longer than a row": overlong} if overlong else {},
        inputs={path.name: value for path, value in zip(files.paths, files.hashes, strict=True)},
        outputs={path.name: sha256(path) for path in outputs if path.name not in ("manifest.json", "run.json")},
        config=run_settings(config),
        versions=versions("torch", "transformers", "tokenizers"),
        seconds=round(seconds, 1),
        summary={
            "parameters": run.size.parameters,
            "steps": config.steps,
            "model_commit": hub_commit(config.model, config.revision),
            "loss": learned[-1]["loss"],
            "loss_by": learned[-1]["loss_by"],
            "training_seconds": round(sum(record["seconds"] for record in records), 1),
            "tokens": sum(record["tokens"] for record in records),
            "targets": sum(record["targets"] for record in records),
            "times_seen": run.order.times_seen(),
            "heldout_loss": records[-1]["heldout_loss"],
            "skipped_steps": sum(record["skipped"] for record in records),
        },
    ).write(config.out)
    print(f"trained: loss {learned[-1]['loss']:.4f} after {config.steps} steps; the model is in {config.out}")
