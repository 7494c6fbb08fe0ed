"""Which processes belong to a run, whatever they did with parents, sessions and groups; read from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from sandbox.jail import pod
from sandbox.jail.proc import Watch
from sandbox.supervisor.life import Life
from sandbox.supervisor.zygotes import Zygotes


class ProcessTable:
    """Counts the processes of a slot's lives. `watch` looks at /proc for it, and for all who ask about a process."""

    def __init__(self, proc: int, zygotes: Zygotes) -> None:
        self.watch, self._zygotes = Watch(proc), zygotes

    def family(self, life: Life) -> list[int]:
        """All processes of a run, as /proc numbers them: its first one, its init, and what descends from either."""
        if isinstance(life.jail, pod.Quarters):
            return life.jail.processes()
        if not life.numbers:
            parents = (self.watch.self_pid, *self._zygotes.numbers())
            children = [child for parent in parents for child in self.watch.children(parent)]
            found = [self.watch.number_of(pid, children) for pid in (life.pid, life.jail.pid) if pid]
            life.numbers = [number for number in found if number]
        return self.watch.family(*life.numbers)

    def sweep(self, life: Life) -> bool:
        """Kill a session's processes but not those of its branches; False if they multiply faster than that."""
        own_level = len(self.watch.in_namespaces(self.watch.self_pid)) - 1
        for _ in range(100):
            family = [self.watch.in_namespaces(number) for number in self.family(life)]
            # Deeper ones belong to branches; the one that calls itself 1 is the init.
            ours = [names for names in family if len(names) == own_level + 2 + life.depth and names[-1] != 1]
            if not ours:
                return True
            for names in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(names[own_level], signal.SIGKILL)
            time.sleep(0.001)
        return False
