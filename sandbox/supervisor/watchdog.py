"""Finds the programs that are over their time or memory, and says when to look next. It ends none of them.

Wall clock and CPU clock are the kernel's. Memory is looked at where no control group watches it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping

from sandbox.jail.proc import LOOK_SECONDS
from sandbox.supervisor.life import Cell, Life
from sandbox.supervisor.process_table import ProcessTable
from sandbox.supervisor.zygotes import Zygotes

_CORES = os.cpu_count() or 1
_CPU_LOOK_SECONDS = 0.1
_EMPTIED_LOOK_SECONDS = 0.05
_OFTEN_SECONDS = 0.5  # while a program runs, wake up so often, to see by how much we are late:
_FROZEN_SECONDS = 1.0  # by this much means that the whole container was paused, or nearly


class Watchdog:
    """Holds the lives of a slot against the limits of the cells they run."""

    def __init__(self, lives: Mapping[str, Life], processes: ProcessTable, zygotes: Zygotes) -> None:
        self._lives, self._processes, self._zygotes = lives, processes, zygotes

    def milliseconds_to_deadline(self, *, emptied: bool) -> float | None:
        """How long the slot may sleep; None: until something happens. `emptied`: it has groups to remove."""
        now = time.monotonic()
        waits = [_seconds_left(life, life.cell, now) for life in self._lives.values() if life.cell]
        waits += [_OFTEN_SECONDS] if waits else []
        waits += [_EMPTIED_LOOK_SECONDS] if emptied else []
        waits += [life.given_up_at - now for life in self._lives.values() if life.given_up_at < math.inf]
        waits += [
            life.cell.looked_at + LOOK_SECONDS - now for life in self._lives.values() if life.cell and not life.group
        ]
        return max(min(waits), 0.0) * 1000 if waits else None

    def forgive(self, late: float) -> None:
        """Seconds that the slot itself was not let run are no program's."""
        if late > _FROZEN_SECONDS:
            for life in self._lives.values():
                if life.cell is not None:
                    life.cell.began += late

    def of_time(self) -> Iterator[Life]:
        """Those whose wall clock or CPU clock has run out; `cell.why` says so now."""
        now = time.monotonic()
        for life in list(self._lives.values()):
            cell = life.cell
            if cell is None or cell.why:
                continue
            over = _seconds_left(life, cell, now) <= 0
            # Only from here on can several processes have used up together what one may use.
            if not over and life.pid and now - cell.began > cell.limits["cpu_seconds"] / _CORES:
                used = self._processes.watch.cpu_seconds(self._processes.family(life)) - cell.cpu_before
                over = used > cell.limits["cpu_seconds"]
            if over:
                cell.why = "timeout"
                yield life

    def of_memory(self) -> Iterator[Life]:
        """Those that use more than they may where no control group ends them; `cell.why` says so now."""
        watch, now = self._processes.watch, time.monotonic()
        for life in list(self._lives.values()):
            if life.group is not None or not life.cell or now < life.cell.looked_at + LOOK_SECONDS:
                continue
            life.cell.looked_at = now
            if life.cell.why or not life.pid:
                continue
            family = self._processes.family(life)
            inherited = self._zygotes.inherited(life)
            in_use = watch.in_use(family, inherited)
            life.peak = max(life.peak, in_use)
            most = life.cell.limits["memory_bytes"]
            if in_use > most and (len(family) < 3 or watch.in_use_exactly(family, inherited) > most):
                life.cell.why = "memory_limit"
                yield life


def _seconds_left(life: Life, cell: Cell, now: float) -> float:
    """Until the wall clock or, at the earliest, the CPU clock runs out."""
    if cell.why:
        return 3600.0  # killed already; its end will wake us
    wall: float = cell.began + cell.limits["wall_seconds"] - now
    cpu: float = cell.limits["cpu_seconds"] - (life.cpu_seconds() - cell.cpu_before)
    together = cell.began + cell.limits["cpu_seconds"] / _CORES - now
    return min(wall, max(cpu, 0.0), together if together > 0 else _CPU_LOOK_SECONDS)
