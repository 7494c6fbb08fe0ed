"""What the folder of a run says: whose run it is, and whether it is done. Loads no torch.

OUT/run.json        the settings, written before the work starts
OUT/rendered        tokens and masks        OUT/tokenizer      the tokenizer that made them
OUT/checkpoints     to go on from           OUT/log.jsonl      a line a step
OUT/config.json, *.safetensors, tokenizer…  the trained model  OUT/manifest.json  last: the run is done
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataset.files import MANIFEST, read_manifest, sha256, written_whole
from sandbox.errors import InputError
from trainer.config import TrainConfig, same_training

RUN = "run.json"
CHECKPOINTS = "checkpoints"


def claim(config: TrainConfig) -> bool:
    """Make `config.out` the folder of this run, or find that it already is; True if the run is done.

    Raises:
        InputError: it holds another run, or something else; what differs is named.
    """
    path = config.out / RUN
    if os.environ.get("RANK", "0") != "0":  # the first process looks and writes; the others meet it afterwards
        return path.exists() and _done(config)
    settings = run_settings(config)
    if same_run(config.out, settings, same_training):
        if _done(config):
            return True
        if read_manifest(config.out) is not None and not any((config.out / CHECKPOINTS).glob("step-*")):
            raise InputError(
                f"{config.out} holds a run that is done and kept no checkpoint (--no-last-checkpoint), so it cannot go "
                "on: choose another --out to train from the beginning"
            )
    with written_whole(path) as file:
        json.dump(settings, file, indent=2)
    (config.out / MANIFEST).unlink(missing_ok=True)  # a longer run is not done yet
    return False


def same_run(
    out: Path, settings: dict[str, Any], differ: Callable[[dict[str, Any], dict[str, Any]], list[str]]
) -> bool:
    """Whether `out` holds this run already; False where it is empty.

    Raises:
        InputError: it holds something else, or a run from whose settings `differ` finds these to differ.
    """
    path = out / RUN
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise InputError(f"--out {out} is not empty and holds no run of ours: choose another folder")
        return False
    try:
        differences = differ(json.loads(path.read_text(encoding="utf-8")), settings)
    except (json.JSONDecodeError, AttributeError, KeyError) as error:
        raise InputError(f"{path} is not a run of ours ({error}): choose another --out") from None
    if differences:
        raise InputError(
            f"{out} holds a run with other settings ({'; '.join(differences)}): "
            "give it the same, choose another --out, or remove the folder"
        )
    return True


def _done(config: TrainConfig) -> bool:
    manifest = read_manifest(config.out)
    if manifest is None:
        return False
    if config.epochs is not None:
        return bool(manifest.config.get("epochs") == config.epochs)
    return bool(manifest.config["steps"] == config.steps)


def drop_checkpoints(config: TrainConfig) -> None:
    """Remove the checkpoints of a run that is done, if it was asked to keep none."""
    if not config.last_checkpoint and os.environ.get("RANK", "0") == "0":
        shutil.rmtree(config.out / CHECKPOINTS, ignore_errors=True)


def run_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings of a run with the hash of the data it was asked to learn.

    Raises:
        InputError: the data folder is not there or not complete.
    """
    if not config.data.is_dir():
        raise InputError(f"--data {config.data} is not a folder: make it with `python -m dataset mix`")
    if not (config.data / MANIFEST).exists():
        raise InputError(
            f"{config.data / MANIFEST} is missing, so the mixture is not complete: run `python -m dataset mix`"
        )
    steps = config.steps if config.epochs is None else None  # those of --epochs follow from the data
    return {**config.to_json(), "steps": steps, "data_sha256": sha256(config.data / MANIFEST)}
