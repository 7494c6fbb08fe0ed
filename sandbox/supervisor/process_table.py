"""Which processes belong to a run, whatever they did with parents, sessions and groups, and what CPU time they took.

Read from /proc. CPU time is there in steps of 10 ms.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from sandbox.jail import namespaces, pod
from sandbox.jail.namespaces import Jail
from sandbox.jail.proc import Watch
from sandbox.supervisor.life import Life
from sandbox.supervisor.zygotes import Zygotes


class ProcessTable:
    """Counts the processes of a slot's lives. `watch` looks at /proc for it, and for all who ask about a process."""

    def __init__(self, proc: int, zygotes: Zygotes) -> None:
        self.watch, self._proc, self._zygotes = Watch(proc), proc, zygotes
        self._own_level = len(self.watch.in_namespaces(self.watch.self_pid)) - 1

    def family(self, life: Life) -> list[int]:
        """All processes of a run, as /proc numbers them: its first one, its init, and what descends from either.

        What descends from the init of a branch is the branch's. Namespaces that a session made by itself part nothing.
        """
        if isinstance(life.jail, pod.Quarters):
            return life.jail.processes()
        if not life.numbers and isinstance(life.jail, Jail):
            life.numbers = [number for number in (self._number_of(life.pid), self._number_of(life.jail.pid)) if number]
        elif not life.numbers:
            parents = (self.watch.self_pid, *self._zygotes.numbers())
            children = [child for parent in parents for child in self.watch.children(parent)]
            life.numbers = [number] if (number := self.watch.number_of(life.pid, children)) else []
        return self.watch.family(*life.numbers, without=[branch.numbers[1] for branch in life.branches])

    def _number_of(self, pid: int) -> int:
        """What /proc calls the process that this one calls `pid`; 0 if it is gone."""
        with contextlib.suppress(OSError):
            return max(namespaces.number_of(self._proc, pid), 0) if pid else 0
        return 0

    def _without_init(self, life: Life) -> list[int]:
        """Its family but for its init, which is ours."""
        init = life.numbers[-1:] if life.jail.pid else []
        return [number for number in self.family(life) if number not in init]

    def known_as(self, number: int) -> int:
        """What this process calls the one that /proc calls `number`; 0 if it is gone."""
        names = self.watch.in_namespaces(number)
        return names[self._own_level] if len(names) > self._own_level else 0

    def moving(self, life: Life) -> list[int]:
        """Which of its processes are neither stopped nor dead, as this process calls them."""
        moving = [each for each in self._without_init(life) if self.watch.may_compute(each)]
        return [pid for each in moving if (pid := life.pid if [each] == life.numbers[:1] else self.known_as(each))]

    def cpu_seconds(self, life: Life) -> float:
        """CPU time of all that a life has run so far: of what lives, and of what has ended and was collected in it."""
        return self.watch.cpu_seconds(self.family(life)) - life.foreign_cpu

    def cpu_of_others(self, life: Life) -> float:
        """The same without what its first process has computed itself, which the kernel tells better elsewhere."""
        family = self.family(life)  # which finds its numbers, too
        first = life.pid if isinstance(life.jail, pod.Quarters) else life.numbers[0] if life.numbers else 0
        return max(self.watch.cpu_seconds(family) - self.watch.own_cpu_seconds(first) - life.foreign_cpu, 0.0)

    def cpu_of_uncollected(self, life: Life) -> float:
        """CPU time of what would be nobody's if it were killed now: of all but its first process and its init."""
        return self.watch.cpu_seconds([each for each in self.family(life) if each not in life.numbers])

    def sweep(self, life: Life) -> bool:
        """Kill a session's processes but not those of its branches; False if they multiply faster than that."""
        for _ in range(100):
            ours = [pid for number in self._without_init(life) if (pid := self.known_as(number))]
            if not ours:
                return True
            for pid in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)
        return False
