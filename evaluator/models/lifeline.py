"""Processes that end with this one, even when it is killed (-9) and can end nothing itself.

vLLM's engine is a process of its own that does not notice when its parent is gone: 2 GB that stay until somebody looks.
A watcher, started here, waits for the end of a pipe that only this process holds; the kernel closes it however this
process ends. `PR_SET_PDEATHSIG` would have to be set inside the engine, which vLLM forks or spawns as it sees fit.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

# It holds handles, not numbers: a number may belong to another process by the time this one ends.
_WATCHER = """
import os, signal, sys
handles = [os.pidfd_open(int(pid)) for pid in sys.argv[1:]]
print(flush=True)
sys.stdin.read()
for handle in handles:
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class Lifeline:
    """Kills the processes `pids` when this process ends without having called `cut`."""

    def __init__(self, pids: Sequence[int]) -> None:
        # In a session of its own: what ends our whole process group must not end the watcher first.
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCHER, *map(str, pids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._watcher.stdout is not None
        self._watcher.stdout.readline()  # it watches from now on

    @classmethod
    def of_children_since(cls, before: Sequence[multiprocessing.process.BaseProcess]) -> Self:
        """The lifeline of this process's children that were not among `before`, `multiprocessing.active_children()`."""
        new = [child.pid for child in multiprocessing.active_children() if child not in before]
        return cls([pid for pid in new if pid is not None])

    def cut(self) -> None:
        """End the watcher: the processes have ended, or may go on. Cutting twice does nothing."""
        self._watcher.kill()
        self._watcher.communicate()
