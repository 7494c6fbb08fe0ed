"""No jail: a folder and a process group. For machines that offer nothing, and only when asked for by name.

It does not hold: a program can read what this user can read, reach the network, and leave its process group.
"""

from __future__ import annotations

import contextlib
import os
import signal

from sandbox.jail import pod


class Folder:
    """Stands where `namespaces.Jail` does: an empty working directory, and a kill that reaches the process group."""

    def __init__(self, file_bytes: int) -> None:
        self.uid, self.gid, self.userns, self.file_bytes = os.geteuid(), os.getegid(), False, file_bytes
        import fcntl  # not above: no other tier needs these, and each fork would copy them
        import tempfile

        self.path = tempfile.mkdtemp(prefix="soroban-")
        self.box = self.work = self.pidfd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Held until the last copy of this descriptor is closed: the engine's, when it has fetched the run's files.
        fcntl.flock(self.work, fcntl.LOCK_EX)
        self.pid = 0  # there is no init
        self.leader = 0
        self._killed = False

    def hold(self, pid: int) -> None:
        """The program's process, which leads its own group, has started."""
        self.leader = pid
        if self._killed:
            self.kill()

    def kill(self) -> None:
        self._killed = True
        if self.leader:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.leader, signal.SIGKILL)

    def end(self) -> float:
        self.kill()
        os.close(self.work)
        pod.remove_when_let_go(self.path, self.path)
        return 0.0  # nobody collects what it leaves
