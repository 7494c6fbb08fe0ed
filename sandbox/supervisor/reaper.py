"""Ends programs and sessions, sees that nothing of them is left, and tells the engine how each ended.

It believes the kernel and the zygotes, which are ours; why we ended a program ourselves, its `Life` says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from sandbox.jail import cgroups, pod
from sandbox.jail.namespaces import Jail
from sandbox.supervisor.branch import Branch
from sandbox.supervisor.life import Cell, Life
from sandbox.supervisor.outbox import Outbox
from sandbox.supervisor.poll import Poll
from sandbox.supervisor.process_table import ProcessTable
from sandbox.supervisor.zygotes import Zygotes

FROM_OUTSIDE = "its jail was ended from outside"
OUT_OF_MEMORY = "the machine, or the container around the sandbox, ran out of memory, below the program's own limit"
EMPTIED_LOOK_SECONDS = 0.05
# What ends sooner is not asked for the CPU time of the other processes that it leaves, which takes 0.1 to 0.2 ms.
_BRIEF_RUN_SECONDS, _BRIEF_CELL_SECONDS = 0.02, 0.005


class Reaper:
    """Takes lives out of `lives`, the slot's, and answers in `outbox` for them."""

    def __init__(
        self, outbox: Outbox, lives: dict[str, Life], poll: Poll, processes: ProcessTable, zygotes: Zygotes
    ) -> None:
        self._outbox, self._lives, self._poll = outbox, lives, poll
        self._processes, self._zygotes = processes, zygotes
        self.emptied: list[cgroups.Group] = []  # groups to be removed

    def kill(self, life: Life) -> None:
        """Order the end of a life. Its branches live on, below its init, until they end themselves."""
        if not life.killed:
            self._see_what_nobody_collects(life)
        life.killed = True
        if not life.branches:
            life.jail.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(life.pid, signal.SIGKILL)
        if isinstance(life.jail, Branch):  # its init will tell; what it is, the session decided
            life.given_up_at = time.monotonic() + 1.0

    def _see_what_nobody_collects(self, life: Life) -> None:
        """Note the CPU time of processes that are about to be killed without anyone's asking what they took."""
        if life.cell is None or isinstance(life.jail, pod.Quarters):
            return
        if time.monotonic() - life.cell.began >= _BRIEF_RUN_SECONDS:
            life.living_cpu = self._processes.cpu_of_uncollected(life)
        if isinstance(life.jail, Branch):  # whose process its init would collect if it ended by itself
            life.living_cpu += life.cpu_seconds()

    def remove_emptied(self) -> None:
        """Remove the control groups of ended sessions that the kernel lets go now."""
        self.emptied = [group for group in self.emptied if not group.remove()]

    def end(
        self, life: Life, status: int | None, cpu: float, rss: int, lost: str | None = None, at: float | None = None
    ) -> None:
        """Take a life out of the world and tell the engine. `status` is None if nobody could see how it ended.

        `cpu` is in seconds, `rss` the peak in bytes; `lost` says why the failure is ours and not the program's; `at`
        is the moment of its end on the monotonic clock, now if nobody saw it.
        """
        ended = at or time.monotonic()
        del self._lives[life.name]
        if life.line is not None:  # first: whatever goes wrong below, it is not heard again
            with contextlib.suppress(KeyError):
                self._poll.unwatch(life.line.fileno())
            life.line.close()
        work = os.dup(life.jail.work)
        killed_for_memory = life.group is not None and life.group.memory_killed()
        if killed_for_memory and life.group is not None and not life.group.limit_was_reached():
            killed_for_memory, lost = False, lost or OUT_OF_MEMORY
        ours = killed_for_memory or lost or life.ended_by_us
        # No program can kill its init: somebody else did, and the program died with it.
        if status == signal.SIGKILL and not ours and isinstance(life.jail, Jail) and life.jail.dies():
            lost = FROM_OUTSIDE
        if not life.killed:
            self._see_what_nobody_collects(life)
        cpu += life.living_cpu + self._release(life)
        if life.cell is not None:
            if killed_for_memory:
                life.cell.why = "memory_limit"
            if lost and not killed_for_memory:
                self._outbox.send({"failed": life.cell.name, "reason": lost})
            else:
                cpu -= life.cell.cpu_before + life.cell.others_before + life.foreign_cpu
                wall = max(ended - life.cell.began, 0.0)
                self._tell_done(life, life.cell, status, wall, cpu, self._peak(life, rss), alive=False, work=work)
        if life.session:
            reason = life.why_ended or lost or ("memory_limit" if killed_for_memory else "its process ended")
            self._outbox.send({"ended": life.name, "reason": reason})
            if life.group is not None:
                self.emptied.append(life.group)
        os.close(work)

    def _peak(self, life: Life, rss: int) -> int:
        if life.group is not None:
            return life.group.memory_peak()
        return max(life.peak, rss - self._zygotes.inherited(life), 0)

    def _release(self, life: Life) -> float:
        """End a life's processes and its jail; if live branches are nested in that, keep its empty shell for them.

        Returns:
            The CPU seconds of those of its processes that its init has collected.
        """
        life.over = True
        parent = life.parent
        if parent is None and not life.branches:
            self._stop_listening(life)
            return life.jail.end()
        init = life.numbers[1:]
        seconds = self._processes.watch.cpu_seconds(init)
        if life.branches and self._processes.sweep(life):
            return seconds
        if parent is None:
            self._stop_listening(life)
            life.jail.end()
            return seconds
        life.jail.end()
        # The parent's process has still to collect the init; what was the branch's then counts among its children's.
        seconds = self._processes.watch.cpu_seconds(init) or seconds
        parent.foreign_cpu += seconds
        parent.branches.remove(life)
        if parent.over and not parent.branches:
            self._release(parent)
        return seconds

    def _stop_listening(self, life: Life) -> None:
        """Who still asks whether it may fork is told that it may not: by the kernel, which says that nobody answers."""
        if life.listener >= 0:
            with contextlib.suppress(KeyError):
                self._poll.unwatch(life.listener)
            os.close(life.listener)
            life.listener = -1

    def end_cell(self, life: Life) -> None:
        """The session lives on; tell what its cell used."""
        if (cell := life.cell) and not cell.why:  # else it has said so a moment before it was killed
            life.cell = None
            cpu = life.cpu_seconds() - cell.cpu_before
            peak = life.group.memory_peak() if life.group else life.peak
            wall = time.monotonic() - cell.began
            if wall >= _BRIEF_CELL_SECONDS:
                life.others_cpu = self._processes.cpu_of_others(life)
                cpu += max(life.others_cpu - cell.others_before, 0.0)
            self._tell_done(life, cell, None, wall, cpu, peak, alive=True, work=life.jail.work)

    def _tell_done(
        self, life: Life, cell: Cell, status: int | None, wall: float, cpu: float, peak: int, *, alive: bool, work: int
    ) -> None:
        number = None if status is None else os.waitstatus_to_exitcode(status)
        message = {
            "done": cell.name,
            "wall": wall,
            "cpu": max(cpu, 0.0),
            "peak": peak,
            "why": cell.why,
            "exit_code": number if number is not None and number >= 0 else None,
            "signal": -number if number is not None and number < 0 else None,
            "alive": alive,
        }
        # The folder goes along so that the engine can fetch files from it after the processes are gone.
        self._outbox.send(message, [work])
