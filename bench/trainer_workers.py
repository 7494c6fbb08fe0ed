"""One trainer, a step at a time: what `bench/trainer.py` starts, once for each trainer that it compares.

    python bench/trainer_workers.py ours|reference|trl-packed|trl-padded FOLDER DESCRIPTOR

FOLDER holds `settings.json`, the mixture in `data`, the tokens in `rendered` and the same first weights in `model`.
Before each step the worker waits for a line on stdin. When the step is over it writes one JSON line to DESCRIPTOR:
real tokens (no padding), CPU seconds of the whole process since that line, and the mean loss of a target. A worker that
waits uses no CPU, so several can take turns.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds `trainer.py`, whose name is the package's


class Turns:
    """Waits for the word before each step and says afterwards what the step took."""

    def __init__(self, descriptor: int) -> None:
        self._out = os.fdopen(descriptor, "w")
        self._began: tuple[float, float] | None = None

    def next(self, tokens: int, loss: float) -> None:
        """A step begins; `tokens` and `loss` are those of the step before it, which therefore is over."""
        if self._began is not None:
            cpu, wall = time.process_time() - self._began[0], time.perf_counter() - self._began[1]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            line = {"tokens": tokens, "cpu": cpu, "wall": wall, "loss": loss, "peak_gib": round(peak, 2)}
            print(json.dumps(line), file=self._out, flush=True)
        else:
            print(json.dumps({"ready": True}), file=self._out, flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # the bench is over: no export, no report
        self._began = time.process_time(), time.perf_counter()


def ours(folder: Path, settings: dict[str, Any], turns: Turns) -> None:
    """`python -m trainer` itself, with a pause before each step."""
    from trainer import train
    from trainer.batches import Order

    taken = train.take_step
    last = [0, 0.0]

    def paused(learner: Any, optimizer: Any, order: Order, step: int, *rest: Any, **named: Any) -> Any:
        turns.next(int(last[0]), last[1])
        result = taken(learner, optimizer, order, step, *rest, **named)
        last[:] = int(order.tokens[step]), float(result.losses.sum() / order.targets[step])
        return result

    train.take_step = paused  # type: ignore[assignment]
    train.train(run_config(folder, settings))


def run_config(folder: Path, settings: dict[str, Any]) -> Any:
    from trainer.config import TrainConfig

    (folder / "ours").mkdir(exist_ok=True)
    return TrainConfig(
        data=folder / "data",
        out=folder / "ours",
        model=str(folder / "model"),
        rendered=folder / "rendered",
        steps=settings["steps"],
        batch_rows=1,
        row_tokens=settings["row_tokens"],
        learning_rate=settings["learning_rate"],
        threads=1,
        checkpoint_every=10**6,
        repeat=True,
    )


def reference(folder: Path, settings: dict[str, Any], turns: Turns) -> None:
    """Plain transformers and torch, one example at a time, in the order of ours: nothing packed, nothing padded."""
    import torch
    from transformers import AutoModelForCausalLM

    from trainer.batches import IGNORED, Order
    from trainer.render import find_train_files, render

    config = run_config(folder, settings)
    data = render(find_train_files(folder / "data"), folder / "model", folder / "rendered", quiet=True)
    order = Order(data, steps=config.steps, batch_rows=1, row_tokens=config.row_tokens, repeat=True)
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).train()
    matrices, gains = ([p for p in model.parameters() if (p.dim() >= 2) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)
    tokens, loss = 0, 0.0
    for row in (plan.row(index) for plan in order.plans for index in range(plan.rows)):
        turns.next(tokens, loss)
        examples = [data.example(int(index)) for index in row]
        tokens, loss = sum(len(ids) for ids, _ in examples), 0.0
        targets = sum(int(learned[1:].sum()) for _, learned in examples)
        for ids, learned in examples:
            inputs = torch.from_numpy(ids.astype("int64"))[None]
            labels = torch.where(torch.from_numpy(learned.copy())[None], inputs, IGNORED)
            part = model(input_ids=inputs, labels=labels, num_items_in_batch=targets, use_cache=False).loss
            part.backward()
            loss += float(part.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()


def trl(folder: Path, settings: dict[str, Any], turns: Turns, *, packing: bool) -> None:
    """TRL's SFTTrainer on the same tokens, masks and first weights, everything else as it comes.

    Except: fp32 as ours; no activation checkpointing, which costs a forward pass; the recipe's rate and betas.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    examples = [json.loads(line) for line in (folder / "tokens.jsonl").read_text().splitlines()]
    config = SFTConfig(
        output_dir=str(folder / "trl"),
        max_length=settings["row_tokens"],
        packing=packing,
        shuffle_dataset=True,
        completion_only_loss=True,
        per_device_train_batch_size=1 if packing else settings["padded_batch"],
        max_steps=settings["steps"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="sdpa")
    trainer = SFTTrainer(
        model,
        config,
        train_dataset=Dataset.from_list(examples),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )
    counts: list[int] = []  # real tokens of each batch, in order; batches are collated ahead of their step
    collate: Callable[[Any], Any] = trainer.data_collator
    losses: list[float] = []

    def counted(rows: list[dict[str, Any]]) -> Any:
        counts.append(sum(len(row["input_ids"]) for row in rows))
        return collate(rows)

    class Pause(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            done = state.global_step
            turns.next(counts[done - 1] if done else 0, losses[-1] if losses else 0.0)

        def on_log(self, _args: Any, _state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
            losses.append(float(logs["loss"]))

    trainer.data_collator = counted
    trainer.add_callback(Pause())
    trainer.train()


def main(kind: str, folder: Path, descriptor: int) -> None:
    turns = Turns(descriptor)
    settings = json.loads((folder / "settings.json").read_text())
    import torch

    torch.set_num_threads(1)
    if kind == "ours":
        ours(folder, settings, turns)
    elif kind == "reference":
        reference(folder, settings, turns)
    else:
        trl(folder, settings, turns, packing=kind == "trl-packed")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
