"""What the tests see of other processes in /proc, where any of them may end under the look."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def steady(look: Callable[P, T]) -> Callable[P, T]:
    """`look`, again where a process that it looks at ended under it, which the kernel tells by several errors."""

    @functools.wraps(look)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(100):
            try:
                return look(*args, **kwargs)
            except OSError as error:
                failure = error
        raise failure

    return again


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, each after its parent; the kernel may leave some out of a look.

    Raises OSError if `pid` itself is gone: of nothing no test could say that it has ended.
    """
    found, todo = list[int](), [pid]
    while todo:
        found.append(each := todo.pop())
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except OSError:
            if each == pid:
                raise
    return found[1:]


def is_running(pid: int) -> bool:
    """Whether the process is there, and not only because nobody has waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def outliving(pids: Iterable[int], seconds: float) -> list[int]:
    """Those that still run when so long has passed; returns as soon as none does."""
    deadline = time.monotonic() + seconds
    while (left := list(filter(is_running, pids))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
