"""Which processes of an engine keep to one core.

A slot, its zygotes and what waits in them do, where slots fill the machine: a fork's memory is its zygote's, in that
core's caches, and the slot has nothing to do while they work for it. What runs beside the slot may go anywhere.
"""

from __future__ import annotations

import contextlib
import os

_ALL = os.sched_getaffinity(0)


def stay_on(core: int | None) -> None:
    """Keep this process, and what it forks, on one core; None: anywhere."""
    if core is not None:
        with contextlib.suppress(OSError):  # the core was taken from us meanwhile
            os.sched_setaffinity(0, {core})


def go_anywhere() -> None:
    """Undo `stay_on` for this process: it has a program, or other work of its own, and another core may be idle."""
    with contextlib.suppress(OSError):  # all of them were taken from us meanwhile
        os.sched_setaffinity(0, _ALL)
