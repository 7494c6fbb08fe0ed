"""The numbers of each step for a viewer of the user's: tensorboard, wandb or trackio, where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sandbox.errors import InputError
from trainer.config import Tracker


class Tracking(Protocol):
    """Where a run's numbers go, step by step; `close` when it ends."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class _Tensorboard:
    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"))
        self._writer.add_text("settings", "\n".join(f"    {name}: {value}" for name, value in settings.items()))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """wandb, and trackio, which has its functions."""

    def __init__(self, library: Any, out: Path, settings: Mapping[str, Any], **options: Any) -> None:
        self._library = library
        library.init(project="soroban", name=out.name, config=dict(settings), **options)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._library.log(dict(values), step=step)

    def close(self) -> None:
        self._library.finish()


def _wandb(out: Path, settings: Mapping[str, Any]) -> Tracking:
    import wandb

    return _Wandb(wandb, out, settings, dir=str(out))


def _trackio(out: Path, settings: Mapping[str, Any]) -> Tracking:
    import trackio

    return _Wandb(trackio, out, settings)


TRACKERS: dict[Tracker, Callable[[Path, Mapping[str, Any]], Tracking]] = {
    "tensorboard": _Tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}


def open_tracker(name: Tracker, out: Path, settings: Mapping[str, Any]) -> Tracking:
    """The tracker that `--report` names, begun for the run in `out`.

    Raises:
        InputError: its package is not installed.
    """
    try:
        return TRACKERS[name](out, settings)
    except ImportError:
        raise InputError(
            f"--report {name} needs the package {name}: pip install {name}, or leave the flag out"
        ) from None
