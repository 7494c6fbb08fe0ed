"""How a run is asked to stop, and how all its processes agree to: before the next micro-batch, then a checkpoint.

SIGTERM, Ctrl-C, or a file named `stop` in the run's folder. torchrun kills its processes 30 seconds after it passes a
signal on (torch 2.13, elastic/agent/server/api.py, no flag for it), so a step of minutes is not waited for: what it
has added up is dropped, and done again by the next start. Where a checkpoint alone takes longer, use the file, which
has no limit.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist

from trainer.world import World

TORCHRUN_SECONDS = 30.0


class Stop:
    """Whether this process, or all of them, are to stop; a second Ctrl-C interrupts at once.

    Attributes:
        number: of the signal that came, 0 without.
    """

    def __init__(self, out: Path) -> None:
        self.number = 0
        self._file = out / "stop"
        self._warned = False
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    def clear(self) -> None:
        """Forget the file; called by the first process before the first step and once it has stopped."""
        self._file.unlink(missing_ok=True)

    def asked(self) -> bool:
        """Whether the first process was; the others hear of it by `agreed`."""
        return bool(self.number) or self._file.exists()

    def agreed(self, world: World) -> bool:
        """Whether any process was asked; called in every process at the same place, and the same in all."""
        asked = self.asked() if world.leads else bool(self.number)
        if world.size == 1:
            return asked
        found = torch.tensor(float(asked))  # on the CPU, over gloo: a GPU's work is not waited for
        dist.all_reduce(found)
        return bool(found)

    def warn_of_slow_save(self, seconds: float) -> str | None:
        """What to tell the user, once, when a save took so long that torchrun would cut one off after a signal."""
        if self._warned or seconds < 0.8 * TORCHRUN_SECONDS or "TORCHELASTIC_RUN_ID" not in os.environ:
            return None
        self._warned = True
        return (
            f"a checkpoint took {seconds:.0f} s, and torchrun kills this run {TORCHRUN_SECONDS:.0f} s after SIGTERM or "
            f"Ctrl-C: to stop it and lose no step, `touch {self._file}` and wait"
        )
