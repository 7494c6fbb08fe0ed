"""The kernel's calls that Python's `os` lacks, by ctypes on libc.

Nothing here knows what a sandbox is. Every function raises `OSError` with the kernel's errno.
Numbers are from the kernel's own headers (include/uapi/linux); the system calls without a libc wrapper
(424 and above) have the same number on every architecture.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import errno
import functools
import os
import select
import struct
import threading

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38

_SYS_MOUNT_SETATTR = 442
_SYS_CLONE = 56 if os.uname().machine == "x86_64" else 220  # the latter on every machine since
_SYS_OPENAT2 = 437
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
_RESOLVE_BENEATH_NO_LINKS = 0x08 | 0x04 | 0x02  # BENEATH, NO_SYMLINKS, NO_MAGICLINKS
_OPEN_TRIES = 8  # of one name, while the kernel says that a rename raced with it

MADV_COLLAPSE = 25

CLONE_VM, CLONE_FILES = 0x00000100, 0x00000400
WAITER_STACK_BYTES = 16384
_WCLONE = -0x80000000  # __WCLONE, as the signed number that `os.waitpid` takes
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = (ctypes.c_int, *4 * (ctypes.c_ulong,))
_libc_with_gil = ctypes.PyDLL(None, use_errno=True)  # its calls do not let other threads run
_libc.clone.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def _check(result: int, what: str, *values: object) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} ({what.format(*values)})")
    return result


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare {:#x}", flags)


def setns(descriptor: int, flags: int) -> None:
    _check(_libc.setns(descriptor, flags), "setns {:#x}", flags)


def clone_waiter(namespaces: int, code: ctypes.c_void_p, stack: ctypes.Array[ctypes.c_char]) -> int:
    """The pid of a child that runs `code` until its death, in new `namespaces`, on `stack`: see sandbox/jail/init.py.

    It shares this process's memory and open files instead of copying them, and never runs a line of Python: ten times
    cheaper than a fork. A handler would run in it, on our memory: have none. `stack` must outlive it. Its death sends
    no signal, so that it is there to be collected even by who ignores SIGCHLD: see `collect`.
    """
    top = (ctypes.addressof(stack) + len(stack)) & ~15
    return _check(_libc.clone(code, top, namespaces | CLONE_VM | CLONE_FILES, None), "clone {:#x}", namespaces)


def collect(child: int) -> float:
    """Wait for the death of a child of `clone_waiter`; the CPU seconds of it and of all that it has collected."""
    _, _, usage = os.wait4(child, _WALL)
    return usage.ru_utime + usage.ru_stime


def make_executable(start: int, length: int) -> None:
    """Let pages of this process be run, and no more be written."""
    done = _libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(length), 1 | 4)  # PROT_READ | PROT_EXEC
    _check(done, "mprotect {:#x}", start)


def fork() -> int:
    """The same as `os.fork`; in a process with one thread, whose locks need no mending, 0.7 ms cheaper.

    What modules have registered to be called after a fork (`random` takes a new seed) is not called then.
    """
    if _thread._count():  # besides the first
        return os.fork()
    return _check(_libc_with_gil.fork(), "fork")


def fork_into(namespaces: int) -> int:
    """Fork, the child in new `namespaces`; its pid, and 0 in the child.

    It sends no signal when it ends, and so is none of those that `os.wait` and its like know of (clone(2),
    "clone" children): see `collect_forked_into`. It forks on by `fork`, never by this.
    """
    return _check(_libc_with_gil.syscall(ctypes.c_long(_SYS_CLONE), ctypes.c_long(namespaces), None, None, None, None),
                  "clone {:#x}", namespaces)  # fmt: skip


def collect_forked_into() -> None:
    """Collect those children of `fork_into` that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, _WCLONE | os.WNOHANG)[0]:
            pass


def wait_for_end_of(child: int) -> None:
    """Return when a child has ended, whether or not it is for us to reap (with SIGCHLD ignored, it is not)."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), options.encode() or None
    )
    _check(result, "mount {} on {}", kind or source, target)


def umount(target: str) -> None:
    """Take a mount off the tree now; it ends when its last user does."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), "umount {}", target)


def mount_set(target: str, attributes: int) -> None:
    """Add attributes to a mount and everything below it.

    Only ever adds: a user namespace may not take away what the host has locked, and a plain remount, which
    states all flags anew, fails with EPERM there.
    """
    packed = struct.pack("QQQQ", attributes, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_long(-100), target.encode(), ctypes.c_long(_AT_RECURSIVE),
        packed, ctypes.c_long(len(packed)),
    )  # fmt: skip
    _check(result, "mount_setattr {}", target)


def pivot_root_here() -> None:
    """Make the working directory, a mount point, the root of this mount namespace; the old root goes away."""
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    umount(".")
    os.chdir("/")


def prctl(option: int, argument: int) -> None:
    _check(_libc.prctl(option, argument, 0, 0, 0), "prctl {}", option)


def drop_capabilities() -> None:
    """Give up every capability, inheritable ones too; with no_new_privs there is no way back."""
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    _check(_libc.capset(header, b"\0" * 24), "capset")


def set_hostname(name: str) -> None:
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


class Filter(ctypes.Structure):
    """A classic BPF program of 8-byte instructions, as the kernel takes it (struct sock_fprog)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    def __init__(self, program: bytes) -> None:
        super().__init__(len(program) // 8, program)


def load_seccomp(program: Filter) -> None:
    """Make `program` this thread's filter of system calls, inherited by its children."""
    _check(_libc.prctl(PR_SET_SECCOMP, 2, ctypes.addressof(program), 0, 0), "prctl PR_SET_SECCOMP")


def open_beneath(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` below `directory`, following no symbolic link and leaving the folder by no other way.

    It never waits if `flags` has O_NONBLOCK.

    Raises:
        BlockingIOError: someone holds a lease on the file, or has renamed in the folder at each of several tries.
        OSError: it cannot be opened.
    """
    if not _has_openat2():
        return _walk_beneath(directory, path, flags, mode)
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, _RESOLVE_BENEATH_NO_LINKS)
    for _ in range(_OPEN_TRIES):
        result = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2), ctypes.c_long(directory), os.fsencode(path), how, ctypes.c_long(len(how))
        )
        # EAGAIN: a rename elsewhere raced with the walk, and the kernel asks to try again. Or a lease, and it does not.
        if result >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return _check(result, "openat2 {}", path)


@functools.cache
def _has_openat2() -> bool:
    """gVisor knows no openat2. What is asked is wrong on purpose, so that nothing is opened."""
    _libc.syscall(ctypes.c_long(_SYS_OPENAT2), ctypes.c_long(-1), b"", None, ctypes.c_long(0))
    return ctypes.get_errno() != errno.ENOSYS


def _walk_beneath(directory: int, path: str, flags: int, mode: int) -> int:
    """The same, one component at a time: none is a link, none leads up, so none can leave the folder."""
    *folders, name = (part for part in path.split("/") if part not in ("", "."))
    if ".." in (*folders, name):
        raise OSError(errno.EXDEV, f"{path} leaves its folder")
    here = os.dup(directory)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = inner
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
    finally:
        os.close(here)


def exit_event(pid: int) -> int:
    """A descriptor that becomes readable when a child of ours has ended; its status is still to be collected."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
    # gVisor. The thread holds no lock while it waits, so that this process can go on forking.
    ended, ending = os.pipe2(os.O_CLOEXEC)

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(ending)

    threading.Thread(target=wait, daemon=True).start()
    return ended


def readable_within(descriptor: int, seconds: float) -> bool:
    """Whether something can be read from a descriptor by then: of a pidfd, whether its process has ended.

    Not by `select`, which takes no descriptor from 1,024 on: a slot with a hundred sessions has more.
    """
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def collapse_to_huge_pages(start: int, length: int) -> bool:
    """Put a range of private memory on huge pages now; False where the kernel will not."""
    return bool(_libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), MADV_COLLAPSE) == 0)


def close_all_except(*keep: int) -> None:
    """Close every descriptor from 3 up that is not among `keep`."""
    first = 3
    for descriptor in sorted(keep):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
