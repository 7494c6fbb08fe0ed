"""Asks the supervisor about a system call: the filter stops the caller until we have answered.

Linux Documentation/userspace-api/seccomp_filter.rst, "Userspace Notification"; include/uapi/linux/seccomp.h.
What is asked is judged by its numbers and by who asks, which the kernel tells; memory of the caller's, which others of
its threads may change after the answer, is never looked at.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import struct
from collections.abc import Callable

from sandbox.jail import linux

_SYS_SECCOMP = 317 if os.uname().machine == "x86_64" else 277
_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # ioctls on a listener
_NOTIFICATION_BYTES = 80
_CONTINUE = 1  # let the call go on as if nobody had been asked

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def load(program: linux.Filter) -> int:
    """Make `program` this thread's filter, as `linux.load_seccomp`; a descriptor on which its questions come.

    Raises:
        OSError: EBUSY: this process has a filter that asks somebody else already.
    """
    result = int(
        _libc.syscall(
            ctypes.c_long(_SYS_SECCOMP), ctypes.c_ulong(_SET_MODE_FILTER), ctypes.c_ulong(_NEW_LISTENER),
            ctypes.byref(program),
        )
    )  # fmt: skip
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} (seccomp with a listener)")
    return result


def answer(listener: int, may: Callable[[int], bool]) -> bool:
    """Answer one question, without waiting: whether the thread that this process calls by that number may.

    Returns:
        False if nobody is left who could ask.
    """
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    events = dict(poll.poll(0)).get(listener, 0)
    if not events & select.POLLIN:  # to receive would wait for ever, then
        return not events & (select.POLLHUP | select.POLLERR)
    notification = bytearray(_NOTIFICATION_BYTES)
    try:
        fcntl.ioctl(listener, _RECEIVE, notification, True)
        number, pid = struct.unpack_from("=QI", notification)
        refusal = 0 if may(pid) else -errno.EPERM
        fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", number, 0, refusal, 0 if refusal else _CONTINUE))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINTR):  # ENOENT: it was killed, or interrupted and asks again
            raise
    return True
