"""The run from top to bottom: tokenise, plan, check, train, export. Started again, it goes on where it was."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
import transformers
from torch.optim import AdamW

from dataset.files import Manifest, sha256, versions, written_whole
from sandbox.errors import InputError
from trainer import checkpoint
from trainer.batches import Order
from trainer.config import TrainConfig
from trainer.export import export
from trainer.fresh import new_config, read_init
from trainer.log import Log, StepRecord, plot, read_log, show_sample
from trainer.model import Learner, build_learner, load_weights, new_weights, pretrained_weights, read_model_config
from trainer.preflight import Size, check_resources, measure, peak_flops, step_flops
from trainer.render import Rendered, TrainFiles, find_train_files, messages_of, render
from trainer.run_folder import run_settings
from trainer.self_check import check_isolation
from trainer.step import learning_rate, make_optimizer, peak_memory_bytes, take_step
from trainer.tokenizer import load_tokenizer, train_tokenizer
from trainer.world import World, first, join

PATIENCE = 3  # steps in a row that may be not finite


class StopSignal:
    """True once SIGTERM or Ctrl-C came; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.number = 0
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


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


def train(config: TrainConfig) -> int:
    """Train as `config` says, into `config.out`; the exit code: 0 done, 128 + signal if one stopped it.

    Raises:
        InputError: something the user gave cannot be used; found before the first step where that is possible.
    """
    began = time.time()
    transformers.utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    stop = StopSignal()
    files = find_train_files(config.data)
    with join() as world:
        run = prepare(config, files, world)
        learner = build_learner(
            run.model_config, world, precision=run.precision, recompute=config.recompute, compile=config.compile
        )
        optimizer = make_optimizer(learner, config)
        step = start(run, learner, optimizer)
        check_isolation(learner, run.order, world, run.precision)
        if step < config.steps and not steps(run, learner, optimizer, step, stop):
            return 128 + stop.number
        export(
            config.out, learner, run.tokenizer, world, {"bf16": torch.bfloat16, "fp32": torch.float32}[config.export]
        )
        if world.leads:
            finish(run, files, time.time() - began)
    return 0


def prepare(config: TrainConfig, files: TrainFiles, world: World) -> Run:
    """Everything that can be known, and can be wrong, before the model is in memory."""
    folder = config.out / "tokenizer"
    init = read_init(config.init) if config.init is not None else None
    model_config = read_model_config(config.model) if config.model is not None else None
    cache = config.rendered or config.out / "rendered"

    def make() -> None:
        if not (folder / "tokenizer.json").exists():
            make_tokenizer(config, files, folder)
        render(files, folder, cache)

    first(world, make)
    data = render(files, folder, cache)  # whole now: every process maps the same files
    tokenizer = load_tokenizer(str(folder))
    if model_config is None:
        assert init is not None
        model_config = new_config(init, tokenizer)
    order = Order(
        data,
        steps=config.steps,
        batch_rows=config.batch_rows,
        row_tokens=config.row_tokens,
        seed=config.seed,
        buffer=config.pack_buffer,
        repeat=config.repeat,
    )
    size = measure(model_config)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and world.device.type == "cuda")
    precision = torch.bfloat16 if bf16 else torch.float32
    run = Run(config, world, tokenizer, model_config, data, order, size, precision)
    check_fit(run)
    need = check_resources(model_config, size, config, world, precision.itemsize)
    if world.leads:
        introduce(run, need)
    return run


def make_tokenizer(config: TrainConfig, files: TrainFiles, folder: Path) -> None:
    """Put the run's tokenizer into `folder`: the model's, or a new one learned from the data."""
    if config.init is None:
        tokenizer = load_tokenizer(str(config.model))
    else:
        texts = (m["content"] for place, line, row in files.lines() for m in messages_of(place, line, row))
        tokenizer = train_tokenizer(texts, read_init(config.init)["tokenizer"]["vocabulary"])
    aside = folder.with_suffix(".partial")
    shutil.rmtree(aside, ignore_errors=True)
    tokenizer.save_pretrained(aside)
    aside.rename(folder)


def check_fit(run: Run) -> None:
    """Refuse a tokenizer that is not the model's, positions that it lacks, and what `--overlong error` forbids."""
    config, data = run.config, run.data
    if len(run.tokenizer) > run.model_config.vocab_size:
        raise InputError(
            f"the tokenizer has {len(run.tokenizer):,} tokens and the model {run.model_config.vocab_size:,}: "
            "the tokenizer is not this model's"
        )
    fitting = data.lengths[data.lengths <= config.row_tokens]
    positions = getattr(run.model_config, "max_position_embeddings", None) or config.row_tokens
    if len(fitting) and fitting.max() > positions:
        raise InputError(
            f"an example has {fitting.max()} tokens and the model {positions} positions: lower --row-tokens"
        )
    overlong = [data.place(int(i)) for i in (data.lengths > config.row_tokens).nonzero()[0]]
    if overlong and config.overlong == "error":
        raise InputError(
            f"{len(overlong)} examples are longer than {config.row_tokens} tokens, the first at {overlong[0]}"
        )
    if overlong and run.world.leads:
        with written_whole(config.out / "overlong.txt") as file:
            file.writelines(place + "\n" for place in overlong)


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
        f"{order.targets.mean():,.0f} targets a step, {waste:.2%} waste; seen: {seen}"
    )
    print(
        f"model  {run.model_config.model_type}, {run.size.parameters:,} parameters; {run.world.size} process(es) on "
        f"{run.world.device.type}, about {memory / 2**30:.1f} GiB in each, computed in {run.precision}"
    )
    first, colour = int(order.plans[0].row(0)[0]), sys.stdout.isatty()
    tokens, learned = data.example(first)
    print(f"sample {data.place(first)}; what is learned is {'green' if colour else 'between » and «'}:")
    print(show_sample(run.tokenizer, tokens.tolist(), learned.tolist(), colour=colour), flush=True)


def start(run: Run, learner: Learner, optimizer: AdamW) -> int:
    """Set weights and optimizer; the number of steps that are already taken."""
    saved = checkpoint.complete(run.config.out / "checkpoints")
    dist.barrier()  # all have looked before the first one removes or adds any
    if saved:
        checkpoint.restore(saved[-1], learner, optimizer)
        step = int(checkpoint.notes(saved[-1])["step"])
        if run.world.leads:
            print(f"going on after step {step}, from {saved[-1]}")
        return step
    config, seed = run.config, run.config.seed
    weights = first(
        run.world,
        lambda: pretrained_weights(config.model) if config.model is not None else new_weights(run.model_config, seed),
    )
    load_weights(learner, weights or {})
    return 0


def steps(run: Run, learner: Learner, optimizer: AdamW, done: int, stop: StopSignal) -> bool:
    """Take all steps after the first `done`; False if a signal ended them early, after a checkpoint."""
    config, world, order = run.config, run.world, run.order
    log = Log(config.out, step=done, steps=config.steps, every=config.log_every) if world.leads else None
    peak, bad = peak_flops(world.device), 0
    learner.train()
    for step in range(done, config.steps):
        began = time.perf_counter()
        result = take_step(learner, optimizer, order, step, config, world, stop=bool(stop.number))
        seconds = time.perf_counter() - began
        if log is not None:
            counts = order.group_targets(step)
            flops = step_flops(
                run.size,
                tokens=int(order.tokens[step]),
                targets=int(order.targets[step]),
                squares=int(order.squares[step]),
            )
            log.write(
                StepRecord(
                    step=step + 1,
                    loss=float(result.losses.sum() / order.targets[step]),
                    loss_by={
                        "/".join(name): float(loss / count)
                        for name, loss, count in zip(run.data.names, result.losses, counts, strict=True)
                        if count
                    },
                    gradient_norm=result.gradient_norm,
                    learning_rate=learning_rate(config, step),
                    tokens=int(order.tokens[step]),
                    targets=int(order.targets[step]),
                    waste=float(1 - order.tokens[step] / (config.batch_rows * config.row_tokens)),
                    seconds=seconds,
                    data_seconds=result.data_seconds,
                    peak_memory_bytes=peak_memory_bytes(world.device),
                    mfu=flops / seconds / (peak * world.size) if peak else None,
                    skipped=result.skipped,
                )
            )
        bad = bad + 1 if result.skipped else 0
        if bad == PATIENCE:
            raise InputError(
                f"loss or gradient was not finite in {bad} steps in a row, the last step {step + 1}: lower "
                "--learning-rate or lengthen --warmup-steps; started again, the run goes on from its last checkpoint"
            )
        last = step + 1 == config.steps
        if last or result.stop or (step + 1) % config.checkpoint_every == 0:
            checkpoint.save(config.out / "checkpoints", step + 1, learner, optimizer, world, keep=config.keep, notes={})
        if result.stop and not last:
            if log is not None:
                log.close()
                print(f"stopped after step {step + 1}; run the same command again to go on")
            return False
    if log is not None:
        log.close()
    return True


def finish(run: Run, files: TrainFiles, seconds: float) -> None:
    """Draw the run and write its manifest, last of all."""
    config, data = run.config, run.data
    plot(config.out)
    records = read_log(config.out)
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
            "loss": records[-1]["loss"],
            "loss_by": records[-1]["loss_by"],
            "training_seconds": round(sum(record["seconds"] for record in records), 1),
            "tokens": sum(record["tokens"] for record in records),
            "targets": sum(record["targets"] for record in records),
            "times_seen": run.order.times_seen(),
            "skipped_steps": sum(record["skipped"] for record in records),
        },
    ).write(config.out)
    print(f"trained: loss {records[-1]['loss']:.4f} after {config.steps} steps; the model is in {config.out}")
