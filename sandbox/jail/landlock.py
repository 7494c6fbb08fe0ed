"""Landlock: what files a process may reach, decided by the process itself and for good; no privilege is needed.

Linux Documentation/userspace-api/landlock.rst; numbers from include/uapi/linux/landlock.h. Rights that the running
kernel does not know are left out of the request, so an older kernel restricts less; `version` says what to expect.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_RULE_PATH_BENEATH = 1
_VERSION = 1  # flag of the first call: answer the version, make nothing

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_REGULAR, TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_REFER, _IOCTL_DEVICE = 1 << 13, 1 << 15
_UP_TO_VERSION_1 = (1 << 13) - 1
_TCP = 3  # bind, connect: from version 4
_SCOPES = 3  # abstract unix sockets, signals to processes outside: from version 6

READ = EXECUTE | READ_FILE | READ_DIR
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | _IOCTL_DEVICE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def version() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    return max(int(_libc.syscall(ctypes.c_long(_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))), 0)


def known(version: int) -> int:
    """Every right on files that this version of Landlock can take away."""
    rights = _UP_TO_VERSION_1
    for since, right in ((2, _REFER), (3, TRUNCATE), (5, _IOCTL_DEVICE)):
        if version >= since:
            rights |= right
    return rights


def restrict(rules: Iterable[tuple[str, int]], version: int) -> None:
    """From now on this process may do with files only what `rules` (path, rights on it and below) allow.

    It needs no_new_privs. Paths that do not exist are passed over.

    Raises:
        OSError: the kernel refused.
    """
    files = known(version)
    attributes = struct.pack("QQQ", files, _TCP, _SCOPES)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    try:
        for path, rights in rules:
            try:
                target = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            allowed = rights & files
            if not os.path.isdir(path):
                allowed &= _OF_A_FILE
            try:
                rule = struct.pack("=Qi", allowed, target)
                _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint(0))
            finally:
                os.close(target)
        _call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{os.strerror(error)} (landlock call {number})")
    return result
