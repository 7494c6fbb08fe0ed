"""What a slot knows of the machine, and of each program, session and zygote while it lives. Records; they do nothing.

Clock, pids and control group are the kernel's; nothing here was said by a program.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.jail import cgroups, linux, none, pod
from sandbox.jail.namespaces import Confinement, Jail
from sandbox.supervisor.branch import Branch

Place = Jail | none.Folder | pod.Quarters  # where a program runs, by tier
Limits = dict[str, Any]  # `sandbox.types.Limits` as it crosses the wire


@dataclass(frozen=True)
class Host:
    """What this engine is to have and found on its machine; shared by all its processes."""

    proc: int
    slots: int
    root: bool
    isolated: bool
    pod: bool
    groups: cgroups.Folder | None

    def enter_group(self, index: int) -> None:
        """Put the caller, a zygote, and so all that it will fork, into its slot's control group."""
        if group := self.group(index):
            group.enter(0)

    def group(self, index: int) -> cgroups.Group | None:
        """The control group of a slot's runs; None where there are none."""
        return None if self.groups is None else self.groups.group(f"slot{index}")


@dataclass
class Cell:
    """What is being timed: a run, or one cell of a session."""

    name: str
    began: float
    cpu_before: float  # of the first process alone
    limits: Limits
    others_before: float = 0.0  # CPU seconds, of the other processes
    why: str | None = None  # timeout or cancelled, once we have decided to end it
    looked_at: float = 0.0  # when its memory was, where no control group counts it
    unheard_since: float = math.inf  # its process has ended by then, of which nobody has told us yet

    def __post_init__(self) -> None:
        self.looked_at = self.began


@dataclass(eq=False)
class Life:
    """A jailed program's process: a run, a session between its opening and its end, or one that waits for a run."""

    name: str
    jail: Place | Branch
    group: cgroups.Group | None
    session: bool
    line: socket.socket | None = None
    pid: int = 0
    cell: Cell | None = None
    why_ended: str | None = None
    killed: bool = False  # by us
    kind: str = "bare"  # of its zygote, see `sandbox/engine/libraries.py`
    numbers: list[int] = field(default_factory=list)  # its process and its init, as /proc numbers them
    parent: Life | None = None  # of a forked session
    branches: list[Life] = field(default_factory=list)  # sessions whose namespaces are nested in this one's
    others_cpu: float = 0.0  # CPU seconds of all its processes but the first, as last seen; see `ProcessTable`
    foreign_cpu: float = 0.0  # what in there was its branches', which have ended
    living_cpu: float = 0.0  # of processes that we have killed, which nobody collects
    rest_at: float = math.inf  # when its processes are to be stopped; see `Rest`
    restless_since: float = math.inf  # since when they are, and some move still
    stopped: set[int] = field(default_factory=set)  # which have been
    spoke: bool = False  # a session: it has said something, so its process is in its jail
    listener: int = -1  # a session: where its filter asks, for its branches, too; see sandbox/jail/listener.py
    over: bool = False  # it has ended, but its namespaces hold its branches
    given_up_at: float = math.inf  # when to do without word of its end
    peak: int = 0  # where no control group counts
    confinement: Confinement | None = None  # None: a branch, which has its parent's

    @property
    def depth(self) -> int:
        """How many forks lie between a session and the one that was opened."""
        return 0 if self.parent is None else 1 + self.parent.depth

    @property
    def ended_by_us(self) -> bool:
        """Whether we have ordered its end, by a limit or by a request."""
        return bool(self.killed or self.why_ended or (self.cell and self.cell.why))

    def has_ended(self) -> bool:
        """Whether the program's process has ended already, whoever has still to tell us."""
        if not self.pid:
            return False
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        except OSError:  # gVisor has no such descriptors
            return False
        try:
            return linux.readable_within(pidfd, 0.0)
        finally:
            os.close(pidfd)

    def cpu_seconds(self) -> float:
        """CPU time of the program's process so far, from the kernel's clock for it."""
        if not self.pid:
            return 0.0  # it has not begun; the clock of process 0 would be our own
        with contextlib.suppress(OSError):
            seconds: float = time.clock_gettime((~self.pid << 3) | 2)
            return seconds
        return 0.0


@dataclass
class Zygote:
    """Forks this slot's programs; `number` is what /proc calls it, `inherited` what each fork has of its memory."""

    line: socket.socket
    kind: str
    number: int = 0
    inherited: int = 0
