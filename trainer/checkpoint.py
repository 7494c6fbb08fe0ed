"""Checkpoints from which a run goes on as if it had never stopped, at any number of processes.

    OUT/checkpoints/step-000100/      model and optimizer, in shards (torch.distributed.checkpoint)
                                COMPLETE   written last: step, and name and size of every other file

A checkpoint is written aside under another name, flushed to disk, renamed, and only then marked complete, so that a
folder without `COMPLETE`, or with a file of another size than it says, is what a crash left behind: it is passed over.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards
from torch.optim import Optimizer

from dataset.files import written_whole
from trainer.model import Learner
from trainer.split import SplitAdamW
from trainer.world import World

COMPLETE = "COMPLETE"


def save(
    folder: Path, step: int, learner: Learner, optimizer: Optimizer, world: World, *, keep: int, notes: dict[str, Any]
) -> None:
    """Write the checkpoint after `step` steps; called in every process. Of the complete ones the last `keep` stay.

    Raises:
        OSError, CheckpointException: it could not be written, the disk is full say; those before it are untouched.
    """
    final = folder / f"step-{step:06d}"
    aside = final.with_suffix(".partial")
    if world.leads:
        for path in (aside, final):  # what a crash left; a complete one is never saved again
            shutil.rmtree(path, ignore_errors=True)
        aside.mkdir(parents=True)
    dist.barrier()
    save_shards(_state(learner, optimizer), checkpoint_id=aside)
    if world.leads:
        sizes = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
        _flush(aside)
        os.replace(aside, final)
        _flush(folder)
        with written_whole(final / COMPLETE) as file:
            json.dump({"step": step, "processes": world.size, "files": sizes, **notes}, file)
        _flush(final)
        kept = complete(folder)[-keep:]
        for old in sorted(set(folder.glob("step-*")) - set(kept)):  # those that a crash left, too
            (old / COMPLETE).unlink(missing_ok=True)  # first: half deleted must not look whole
            shutil.rmtree(old)
    dist.barrier()


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def complete(folder: Path) -> list[Path]:
    """The usable checkpoints in `folder`, oldest first."""
    return [path for path in sorted(folder.glob("step-*")) if _whole(path)]


def _whole(path: Path) -> bool:
    try:
        files = json.loads((path / COMPLETE).read_text(encoding="utf-8"))["files"]
        return all((path / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def notes(path: Path) -> dict[str, Any]:
    """What `save` wrote beside the weights: step, processes, files and its `notes`."""
    value = json.loads((path / COMPLETE).read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def restore(path: Path, learner: Learner, optimizer: Optimizer) -> None:
    """Set model and optimizer to a complete checkpoint; called in every process."""
    state = _state(learner, optimizer)
    load_shards(state, checkpoint_id=path)
    if isinstance(optimizer, SplitAdamW):
        assert learner.remainders is not None
        learner.remainders.load(state["model"])
        optimizer.load_moments(state["optimizer"]["state"], dict(learner.model.named_parameters()))
        return
    set_state_dict(learner.model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])


def _state(learner: Learner, optimizer: Optimizer) -> dict[str, Any]:
    """What a checkpoint holds, the same for weights in halves as for fp32 shards: either goes on from the other's."""
    if learner.remainders is not None:
        states = get_optimizer_state_dict(learner.model, optimizer)
        return {"model": learner.remainders.state_dict(), "optimizer": states}
    model, states = get_state_dict(learner.model, optimizer)
    return {"model": model, "optimizer": states}
