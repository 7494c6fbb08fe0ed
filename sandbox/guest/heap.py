"""A heap made ready to be forked: what a fork writes to, the kernel copies, a page at a time."""

from __future__ import annotations

import gc
import itertools
import os
import re
from collections.abc import Callable

from sandbox.jail import linux

# CPython's allocator (Objects/obmalloc.c) takes blocks of up to 512 bytes from pools, each of blocks of one size.
_POOL_BYTES, _POOL_HEADER_BYTES, _STEP_BYTES, _LARGEST_BYTES = 1 << 14, 48, 16, 512
_MOST_BLOCKS = 1 << 16  # of a size; for a Python whose allocator is another

_numbers = itertools.count(1 << 29)
_holes: list[object] = []  # what fills them, for good


def settle() -> None:
    """Leave nothing for a fork's collector to write to, and no free block among those in use.

    The free blocks of a process that has worked a while lie one here, two there: a fork that takes them copies a page
    for each. With all of them taken it begins pools of its own, and fills their pages one after the other.
    """
    gc.collect()
    for size in range(_STEP_BYTES, _LARGEST_BYTES + 1, _STEP_BYTES):
        _fill(size)
    gc.freeze()


def _fill(size: int) -> None:
    """Take blocks of `size` bytes until the allocator begins a pool: it does when no other has a free one."""
    make = _maker(size)
    before = in_a_row = 0
    for _ in range(_MOST_BLOCKS):
        _holes.append(block := make())
        address = id(block)
        if address % _POOL_BYTES == _POOL_HEADER_BYTES:
            in_a_row = 1
        else:
            in_a_row = in_a_row + 1 if in_a_row and address == before + size else 0
        if in_a_row == 3:  # a block that was freed may lie first in its pool, too; a row of them is from a new one
            return
        before = address


def _maker(size: int) -> Callable[[], object]:
    """What makes an object that takes a block of `size` bytes."""
    if size == 16:
        return object
    if size == 32:
        return _numbers.__next__
    return lambda: bytes(size - 33)


def use_huge_pages(proc: int) -> None:
    """Collapse the heap onto huge pages: a fork then copies one entry for 2 MiB instead of 512."""
    huge = 1 << 21
    with os.fdopen(os.open("self/maps", os.O_RDONLY, dir_fd=proc)) as maps:
        lines = maps.read().splitlines()
    for line in lines:
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(\[heap\])?$", line):
            first, last = -(-int(found[1], 16) // huge) * huge, int(found[2], 16) // huge * huge
            for start in range(first, last, huge):
                linux.collapse_to_huge_pages(start, huge)
