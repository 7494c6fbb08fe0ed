"""Which processes of an engine keep to one core.

A slot, its zygotes and what waits in them do, where slots fill the machine: a fork's memory is its zygote's, in that
core's caches, and the slot has nothing to do while they work for it. What runs beside the slot may go anywhere.
"""

from __future__ import annotations

import contextlib
import os

_ALL = os.sched_getaffinity(0)  # of the engine


def keep_to_one(index: int, slots: int) -> None:
    """Keep this process, and what it forks, on the core of slot `index`; anywhere if there are cores to choose from."""
    if slots >= len(_ALL):
        _go_to({sorted(_ALL)[index % len(_ALL)]})


def go_anywhere() -> None:
    """Undo `keep_to_one` for this process: it has a program, or other work of its own, and another core may be idle."""
    _go_to(_ALL)


def _go_to(cores: set[int]) -> None:
    with contextlib.suppress(OSError):  # they were taken from the engine meanwhile
        os.sched_setaffinity(0, cores)
