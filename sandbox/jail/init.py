"""The first process of a jail, in machine code: it collects what has ended, until it is killed. Nothing else.

What a program leaves without a parent becomes this process's, which alone in the jail can see to it that the kernel
adds up what that has computed: the CPU time of a process that is collected is its parent's to answer for
(getrusage(2), RUSAGE_CHILDREN); of one whose parent ignores SIGCHLD it is nobody's.

It shares its maker's memory (`linux.clone_waiter`), the thread-local part of libc's included, so it must call no
function of libc: that would write to its maker's `errno`. Hence the instructions below. By way of the kernel alone:

    rt_sigaction(SIGCHLD, default)          its maker ignores it
    rt_sigprocmask(block SIGCHLD)           blocked it stays pending, even if it is ignored
    again: while (wait4(-1, 0, __WALL, 0) > 0);
           rt_sigtimedwait(SIGCHLD)         there is no child, or none is left
           goto again
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os

from sandbox.jail import linux

_CODE = {
    "x86_64": (
        "6a00 6a00 6a00 6a00"  # push 0, four times: an empty struct sigaction
        "bf11000000 4889e6 31d2 41ba08000000 b80d000000 0f05"  # rt_sigaction(17, rsp, 0, 8)
        "48c7042400000100"  # mov qword [rsp], 1 << 16: a set of signals with number 17
        "31ff 4889e6 31d2 41ba08000000 b80e000000 0f05"  # rt_sigprocmask(SIG_BLOCK, rsp, 0, 8)
        "48c7c7ffffffff 31f6 ba00000040 4531d2 b83d000000 0f05"  # again: wait4(-1, 0, __WALL, 0)
        "4885c0 7fe3"  # test rax, rax; jg again
        "4889e7 31f6 31d2 41ba08000000 b880000000 0f05"  # rt_sigtimedwait(rsp, 0, 0, 8)
        "ebcd"  # jmp again
    ),
    "aarch64": (
        "ff7fbea9 ff7f01a9"  # stp xzr, xzr, twice
        "200280d2 e1030091 e2031faa 030180d2 c81080d2 010000d4"
        "2400a0d2 e40300f9"  # mov x4, 1 << 16; str x4, [sp]
        "e0031faa e1030091 e2031faa 030180d2 e81080d2 010000d4"
        "00008092 e1031faa 0200a8d2 e3031faa 882080d2 010000d4"
        "1f0000f1 2cffff54"  # cmp x0, 0; b.gt again
        "e0030091 e1031faa e2031faa 030180d2 281180d2 010000d4"
        "f2ffff17"  # b again
    ),
}


@functools.cache
def code() -> ctypes.c_void_p:
    """Where the instructions are, in this process and in what it forks; they never return.

    Raises:
        OSError: this machine lets nobody run what is not in a file.
    """
    instructions = bytes.fromhex(_CODE[os.uname().machine])
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.write(instructions)
    address = ctypes.addressof(_first := ctypes.c_char.from_buffer(memory))
    _kept.append(_first)
    linux.make_executable(address, mmap.PAGESIZE)
    return ctypes.c_void_p(address)


_kept: list[ctypes.c_char] = []  # as long as one refers to it, the memory stays where it is
