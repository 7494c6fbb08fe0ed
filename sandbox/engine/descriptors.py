"""Open files: how many an engine may need, and what the kernel says when there are no more.

They run out by the doing of others, too: that is a failure of ours that may be retried, never a mistake of a request.
"""

from __future__ import annotations

import errno
import resource

from sandbox.errors import InputError

# What a call fails with where this process, its user or the machine has no more descriptors or memory for them.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})

# Raised no further: who walks all numbers up to the limit, as old libraries do, would walk for minutes.
_ENOUGH = 65536
# A program's: request, stdin, both ends of three pipes, its folder, the copy of one on the way.
_A_PROGRAM = 10
# A slot's processes are descriptors here, and in its own process each program and session holds some (highest: 191).
_A_SLOT = 16
_BASE = 224


def raise_limit() -> int:
    """Raise this process's soft limit on open files to its hard one (or 65536), for all it starts, too; the limit now.

    The kernel also counts descriptors that are on their way between processes against it, for all of a user's
    processes together.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def needed(workers: int) -> int:
    """Open files that an engine of so many slots may hold at a time. Results are made while the next programs run."""
    return _BASE + workers * (_A_SLOT + 2 * _A_PROGRAM)


def check_limit(limit: int, least: int, what: str) -> None:
    """Raise `InputError` if `limit` open files are too few for `what`."""
    if limit < least:
        raise InputError(
            f"{what} need {least} open files and the limit is {limit}: raise it (ulimit -Hn {2 * least}, "
            "LimitNOFILE= of the service, --ulimit nofile= of the container) or use fewer workers"
        )
