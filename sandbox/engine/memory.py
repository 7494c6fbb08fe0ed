"""The memory that is left: this machine's, or the container's where that has a limit of its own."""

from __future__ import annotations

import contextlib
from pathlib import Path

_LITTLE_BYTES = 1 << 30  # or a tenth of all, where that is less
# The control group's limit, use, and the line of its statistics for cached files, which go first: versions 2 and 1.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


def is_short() -> bool:
    """Whether less than 1 GiB, or a tenth of all where that is less, is left for new processes."""
    return any(left < min(_LITTLE_BYTES, total // 10) for left, total in _budgets())


def _budgets() -> list[tuple[int, int]]:
    """What is left and what there is, in bytes, of the machine's memory and of the group's; what can be read of it."""
    budgets = []
    with contextlib.suppress(OSError, KeyError, ValueError):
        machine = _table(Path("/proc/meminfo").read_text().replace(":", ""))
        budgets.append((machine["MemAvailable"] << 10, machine["MemTotal"] << 10))
    for limit, use, statistics, cached in _GROUPS:
        with contextlib.suppress(OSError, KeyError, ValueError):  # ValueError: "max", no limit
            most = int(Path(limit).read_text())
            used = int(Path(use).read_text()) - _table(Path(statistics).read_text())[cached]
            budgets.append((most - used, most))
    return budgets


def _table(text: str) -> dict[str, int]:
    return {words[0]: int(words[1]) for line in text.splitlines() if len(words := line.split()) >= 2}
