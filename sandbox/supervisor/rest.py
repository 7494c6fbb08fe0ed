"""Between two cells a session stands still: all its processes are stopped, until the next cell or fork.

So that nothing is computed that no limit counts: by a process that a cell has left behind, by a thread, or by a cell
that says it is done, which a program can write on its line itself, and is not. It all goes on with the next cell, in
that cell's time. What is left free: `REST_AFTER_SECONDS`, since one cell often follows another at once.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Mapping

from sandbox.supervisor.life import Life
from sandbox.supervisor.process_table import ProcessTable

REST_AFTER_SECONDS = 0.05
_ROUNDS, _AGAIN_SECONDS = 3, 0.01  # at a time: the slot has others to serve
_PATIENCE_SECONDS = 30.0  # on a machine with ten times as much to do as it has cores a signal may wait for a second


class Rest:
    """Stops the sessions among `lives` whose cell is over, and lets them go on."""

    def __init__(self, lives: Mapping[str, Life], processes: ProcessTable) -> None:
        self._lives, self._processes = lives, processes

    def seconds_to_next(self) -> float:
        """Until one of them is to be stopped."""
        soonest = min((life.rest_at for life in self._lives.values()), default=math.inf)
        return soonest - time.monotonic()

    def due(self) -> list[Life]:
        now = time.monotonic()
        return [life for life in self._lives.values() if life.rest_at <= now and life.cell is None]

    def begin(self, life: Life) -> None:
        """Its cell is over."""
        life.rest_at = time.monotonic() + REST_AFTER_SECONDS

    def stop(self, life: Life) -> bool:
        """Stop all that the session runs, or come back to it in a moment; False if that has gone on for too long.

        A signal waits until its process is let run, a process can be forked meanwhile, and one of them may let the
        others go on: they stand when they are seen to stand.
        """
        now = time.monotonic()
        life.restless_since = min(life.restless_since, now)
        for _ in range(_ROUNDS):
            moving = self._processes.moving(life)
            if not moving:
                life.rest_at = life.restless_since = math.inf
                life.others_cpu = self._processes.cpu_of_others(life)
                return True
            for pid in moving:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            life.stopped.update(moving)
            time.sleep(0)  # to others of this core
        life.rest_at = now + _AGAIN_SECONDS
        return now < life.restless_since + _PATIENCE_SECONDS

    def end(self, life: Life) -> None:
        """Let it go on."""
        life.rest_at = life.restless_since = math.inf
        for pid in life.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        life.stopped.clear()
