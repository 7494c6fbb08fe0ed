"""A process of ours that must not outlive the one that started it, however that ends."""

from __future__ import annotations

import os
import signal

from sandbox.jail import linux


def end_with_parent(parent: int) -> None:
    """From now on the kernel kills this process when the thread that started it ends; at once if `parent` is gone."""
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
