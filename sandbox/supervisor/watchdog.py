"""Finds the programs that are over their time or memory, and says when to look next. It ends none of them.

Wall clock and CPU clock are the kernel's. Memory is looked at where no control group watches it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping

from sandbox.jail.proc import LOOK_SECONDS
from sandbox.supervisor.life import Cell, Life
from sandbox.supervisor.process_table import ProcessTable
from sandbox.supervisor.zygotes import Zygotes

_CORES = os.cpu_count() or 1
_CPU_LOOK_SECONDS = 0.1
_OFTEN_SECONDS = 0.5  # while a program runs, wake up so often, to see by how much we are late:
_UNHEARD_SECONDS, _UNHEARD_LOOK_SECONDS = 2.0, 0.005
_FROZEN_SECONDS = 1.0  # by this much means that the whole container was paused, or nearly


class Watchdog:
    """Holds the lives of a slot against the limits of the cells they run."""

    def __init__(self, lives: Mapping[str, Life], processes: ProcessTable, zygotes: Zygotes) -> None:
        self._lives, self._processes, self._zygotes = lives, processes, zygotes

    def seconds_to_next(self) -> float:
        """How long the slot may sleep before it looks at its lives; `math.inf`: until something happens."""
        now, soonest = time.monotonic(), math.inf
        for life in self._lives.values():
            if life.cell is not None:
                soonest = min(soonest, _OFTEN_SECONDS, _seconds_left(life, life.cell, now))
                if life.group is None:
                    soonest = min(soonest, life.cell.looked_at + LOOK_SECONDS - now)
            soonest = min(soonest, life.given_up_at - now)
        return soonest

    def forgive(self, late: float) -> None:
        """Seconds that the slot itself was not let run, `late` after it was to wake, are no program's."""
        if late > _FROZEN_SECONDS:
            for life in self._lives.values():
                if life.cell is not None:
                    life.cell.began += late

    def is_over_time(self, life: Life) -> bool:
        """Whether the wall clock or the CPU clock of what it runs has run out."""
        now, cell = time.monotonic(), life.cell
        if cell is None or cell.why:
            return False
        if _seconds_left(life, cell, now) <= 0:
            return True
        # Only from here on can several processes have used up together what one may use.
        if not life.pid or now - cell.began <= cell.limits["cpu_seconds"] / _CORES:
            return False
        used = self._processes.cpu_seconds(life) - cell.cpu_before - cell.others_before
        return bool(used > cell.limits["cpu_seconds"])

    def must_end(self, life: Life) -> bool:
        """Whether it is over its time and nobody has still to tell us that it ended before."""
        return self.is_over_time(life) and not self._has_ended_by_itself(life)

    def _has_ended_by_itself(self, life: Life) -> bool:
        """Whether it ended before we could end it: then its end, which is on the way to us, is what counts.

        For `_UNHEARD_SECONDS` at most: whoever was to tell us may be stuck.
        """
        assert life.cell is not None
        if not life.has_ended():
            return False
        life.cell.unheard_since = min(life.cell.unheard_since, time.monotonic())
        return time.monotonic() < life.cell.unheard_since + _UNHEARD_SECONDS

    def is_over_memory(self, life: Life) -> bool:
        """Whether it uses more than it may, looked at now and then, where no control group ends it."""
        cell, now = life.cell, time.monotonic()
        if life.group is not None or cell is None or now < cell.looked_at + LOOK_SECONDS:
            return False
        cell.looked_at = now
        if cell.why or not life.pid:
            return False
        watch, family = self._processes.watch, self._processes.family(life)
        inherited = self._zygotes.inherited(life)
        in_use = watch.in_use(family, inherited)
        life.peak = max(life.peak, in_use)
        most = cell.limits["memory_bytes"]
        return in_use > most and (len(family) < 3 or watch.in_use_exactly(family, inherited) > most)


def _seconds_left(life: Life, cell: Cell, now: float) -> float:
    """Until the wall clock or, at the earliest, the CPU clock runs out."""
    if cell.why:
        return 3600.0  # killed already; its end will wake us
    if cell.unheard_since < math.inf:
        return _UNHEARD_LOOK_SECONDS if now < cell.unheard_since + _UNHEARD_SECONDS else 0.0
    wall: float = cell.began + cell.limits["wall_seconds"] - now
    cpu: float = cell.limits["cpu_seconds"] - (life.cpu_seconds() - cell.cpu_before)
    together = cell.began + cell.limits["cpu_seconds"] / _CORES - now
    return min(wall, max(cpu, 0.0), together if together > 0 else _CPU_LOOK_SECONDS)
