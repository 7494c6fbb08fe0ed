"""The run from top to bottom: tokenise, plan, check, train, export. Started again, it goes on where it was."""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from dataset.chat import ChatFormat
from dataset.files import written_whole
from sandbox.errors import InputError
from trainer import checkpoint
from trainer.architecture import check_config, simplify
from trainer.batches import Order
from trainer.config import TrainConfig, read_weights
from trainer.exam import sit_exam
from trainer.export import export, gather
from trainer.fresh import new_config, read_init
from trainer.full_disk import full_disk_in_one_line
from trainer.heldout import read_heldout
from trainer.log import Log
from trainer.lora import write_adapter
from trainer.model import Learner, learner_for, load_weights, new_weights, pretrained_weights, read_model_config
from trainer.nodes import check_shared
from trainer.preflight import check_resources, choose_precision, measure
from trainer.profiling import profiled
from trainer.render import TrainFiles, find_train_files, messages_of, render
from trainer.run import Run, finish, introduce, open_log, step_record
from trainer.run_folder import drop_checkpoints
from trainer.samples import keep_samples, write_samples
from trainer.self_check import expect_seconds, prove
from trainer.short_memory import short_memory_in_one_line
from trainer.step import Stopped, make_optimizer, take_step
from trainer.stop import Stop
from trainer.tokenizer import load_tokenizer, train_tokenizer
from trainer.world import World, add_in_one_order, first, join, quiet_and_threads

PATIENCE = 3  # steps in a row that may be not finite


def train(config: TrainConfig) -> int:
    """Train as `config` says, into `config.out`; the exit code: 0 done, 128 + signal if one stopped it.

    Raises:
        InputError: something the user gave cannot be used; found before the first step where that is possible.
    """
    began = time.time()
    quiet_and_threads(config)
    if config.deterministic:
        add_in_one_order()
    stop = Stop(config.out)
    files = find_train_files(config.data)
    checkpoints = config.out / "checkpoints"
    with join() as world, short_memory_in_one_line(config), full_disk_in_one_line(config.out, checkpoints):
        run = prepare(config, files, world)
        config = run.config  # with the steps that --epochs are
        learner = learner_for(config, run.model_config, world, run.precision)
        optimizer = make_optimizer(learner, config, rank=world.rank)
        step = start(run, learner, optimizer)
        apart = prove(learner, run.order, world, run.precision, micro_rows=config.micro_rows, float8=config.float8)
        expected = expect_seconds(learner, run.order, world, config)
        if world.leads:
            minutes = expected * (config.steps - step) / 60
            print(f"proof  packed, as in training, losses of single targets are the model's own to {apart:.1e}")
            print(f"time   about {expected:.3g} s a step, {minutes:,.1f} min in all, by one forward pass", flush=True)
        if step < config.steps and not steps(run, learner, optimizer, step, stop):
            return 128 + (stop.number or signal.SIGTERM)  # another process was asked, and told this one
        dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[config.export]
        export(config.out, learner, run.tokenizer, world, dtype)
        if config.adapters:
            weights = gather(learner)
            if world.leads:
                write_adapter(config.out / "adapter", weights, config, dtype)
        if world.leads:
            finish(run, files, time.time() - began)
            drop_checkpoints(config)
    return 0


def prepare(config: TrainConfig, files: TrainFiles, world: World) -> Run:
    """Everything that can be known, and can be wrong, before the model is in memory."""
    folder = config.out / "tokenizer"
    init = read_init(config.init) if config.init is not None else None
    model_config = read_model_config(config.model, config.revision) if config.model is not None else None
    if model_config is not None:
        check_config(model_config, row_tokens=config.row_tokens)  # before the data are tokenised
    cache = config.rendered or config.out / "rendered"
    check_shared(
        {"--out": config.out, "--rendered": cache} if config.rendered else {"--out": config.out}, files.hashes, world
    )

    def make() -> None:
        if not (folder / "tokenizer.json").exists():
            make_tokenizer(config, files, folder)
        render(files, folder, cache, quiet=config.quiet)
        read_heldout(config, folder, cache)

    first(world, make)
    data = render(files, folder, cache, made=True)  # every process maps the same files
    heldout = read_heldout(config, folder, cache, made=True)
    tokenizer = load_tokenizer(str(folder))
    if model_config is None:
        assert init is not None
        model_config = new_config(init, tokenizer)
        check_config(model_config, row_tokens=config.row_tokens)
    remarks = simplify(model_config)
    order = Order(
        data,
        steps=config.steps,
        epochs=config.epochs,
        batch_rows=config.batch_rows,
        row_tokens=config.row_tokens,
        seed=config.seed,
        buffer=config.pack_buffer,
        repeat=config.repeat,
        weights=read_weights(config.source_weights),
    )
    if config.warmup_steps > order.steps:
        raise InputError(f"--warmup-steps is {config.warmup_steps}, expected 0 to the {order.steps} steps of --epochs")
    config = replace(config, steps=order.steps)
    size = measure(model_config)
    precision = choose_precision(config, world)
    run = Run(config, world, tokenizer, model_config, data, order, size, precision, heldout, remarks)
    check_fit(run)
    need = check_resources(model_config, size, config, world, precision.itemsize)
    if world.leads:
        introduce(run, need)
    return run


def make_tokenizer(config: TrainConfig, files: TrainFiles, folder: Path) -> None:
    """Put the run's tokenizer into `folder`: the model's, or a new one learned from the data."""
    if config.init is None:
        tokenizer = load_tokenizer(str(config.model), config.revision)
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


def start(run: Run, learner: Learner, optimizer: Optimizer) -> int:
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

    def read() -> dict[str, Tensor]:
        if config.model is not None:
            return pretrained_weights(config.model, config.revision)
        return new_weights(run.model_config, seed)

    weights = first(run.world, read)
    load_weights(learner, weights or {}, seed=seed)
    return 0


def steps(run: Run, learner: Learner, optimizer: Optimizer, done: int, stop: Stop) -> bool:
    """Take all steps after the first `done`; False if the run was asked to stop and did, after a checkpoint."""
    config, world, order = run.config, run.world, run.order
    bad, saved = 0, done
    learner.train()
    if world.leads:
        stop.clear()
    with open_log(run, done) as log:
        if done == 0 and config.score_every is not None:
            sit_exam(config, 0, learner, run.tokenizer, world, stop=stop.asked)
        for step in range(done, config.steps):
            began = time.perf_counter()
            try:
                on = config.profile and world.leads and step == min(done + 2, config.steps - 1)
                with profiled(config.out, step + 1, on=on):
                    result = take_step(learner, optimizer, order, step, config, world, stop=lambda: stop.agreed(world))
            except Stopped:
                if step > saved:
                    save(run, step, learner, optimizer, stop)
                if world.leads:
                    stop.clear()
                    print(f"stopped after step {step}; run the same command again to go on", flush=True)
                return False
            seconds = time.perf_counter() - began
            last = step + 1 == config.steps
            heldout = None
            if run.heldout is not None and (last or (step + 1) % config.heldout_every == 0):
                heldout = run.heldout.losses(learner, world, micro_rows=config.micro_rows)
            if log is not None:
                log.write(step_record(run, step, result, seconds, heldout))
            look(run, step + 1, learner, stop, log)
            bad = bad + 1 if result.skipped else 0
            if bad == PATIENCE:
                raise InputError(
                    f"loss or gradient was not finite in {bad} steps in a row, the last step {step + 1}: lower "
                    "--learning-rate or lengthen --warmup-steps; run again, it goes on from its last checkpoint"
                )
            if config.last_checkpoint if last else (step + 1) % config.checkpoint_every == 0:
                save(run, step + 1, learner, optimizer, stop)
                saved = step + 1
    return True


def look(run: Run, step: int, learner: Learner, stop: Stop, log: Log | None) -> None:
    """Have the model write samples, and sit its exam, where they are due after `step` steps."""
    config, world, last = run.config, run.world, step == run.config.steps
    if config.sample_every is not None and (last or step % config.sample_every == 0):
        data = run.data if run.heldout is None else run.heldout.order.data
        end = ChatFormat(run.tokenizer).end_of_turn
        samples = write_samples(
            learner, data, run.tokenizer, end, world, count=config.samples, new_tokens=config.sample_tokens
        )
        if world.leads:
            print(keep_samples(config.out, step, samples), flush=True)
    if config.score_every is not None and (last or step % config.score_every == 0):
        scores = sit_exam(config, step, learner, run.tokenizer, world, stop=stop.asked)
        if log is not None:
            log.watch(step, {f"exam/{name}": value for name, value in scores.items()})


def save(run: Run, step: int, learner: Learner, optimizer: Optimizer, stop: Stop) -> None:
    """Write the checkpoint after `step` steps, and say it if that takes too long for torchrun."""
    began = time.perf_counter()
    folder = run.config.out / "checkpoints"
    checkpoint.save(folder, step, learner, optimizer, run.world, keep=run.config.keep, notes={})
    if run.world.leads and (warning := stop.warn_of_slow_save(time.perf_counter() - began)):
        print(warning, flush=True)
