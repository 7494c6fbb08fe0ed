"""The system calls a program may not make, as a table, and the filter assembled from it.

Every refusal is an errno, never a kill: a filter that kills breaks numpy and glibc at random, which probe for calls
and fall back. What is left out is what no program that computes needs: namespaces and mounts (the ways out),
other processes' memory, kernel facilities with a long record of holes (bpf, io_uring, userfaultfd, perf, keys),
channels that do not end with the run (System V and POSIX queues), and what two runs could meet by: names of sockets,
which are visible across the runs that share a network namespace, and leases, locks and watches on the library files
that all of them share. Of sockets there is `socketpair`, without addresses. Calls newer than the table are refused as
unknown to this kernel.

Layout of the program: Linux Documentation/userspace-api/seccomp_filter.rst. The idea of answering ENOSYS to
clone3, so that glibc uses clone, whose flags a filter can read: Docker's default profile.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct

from sandbox.jail import linux

# name: (number on x86_64, number on aarch64); None: the machine has no such call.
DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes' memory and descriptors
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    # mounts and roots
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    # namespaces; `clone`, which makes them too, is judged by its flags below
    "setns": (308, 268), "unshare": (272, 97),
    # the kernel's own code and facilities
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "seccomp": (317, 277),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "remap_file_pages": (216, 234),
    # the machine
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58), "personality": (135, 92),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "uselib": (134, None), "ustat": (136, None),
    "sysfs": (139, None), "_sysctl": (156, None), "mbind": (237, 235), "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "set_mempolicy_home_node": (450, 450),
    # channels and memory that would outlive or leave the run
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "mq_open": (240, 180), "mq_unlink": (241, 181), "mq_timedsend": (242, 182), "mq_timedreceive": (243, 183),
    "mq_notify": (244, 184), "mq_getsetattr": (245, 185), "socket": (41, 198),
    # addresses of sockets: an abstract name is seen by all runs. An option, SO_PASSCRED, gives a socket one, too
    # (unix(7), autobind); and larger buffers hold memory that is counted nowhere but in control groups.
    "bind": (49, 200), "connect": (42, 203), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "setsockopt": (54, 208),
    # what all see who have the same file open or mapped: who opens it, who has locked it, what of it is in memory
    "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    "inotify_rm_watch": (255, 28), "flock": (73, 32), "mincore": (27, 232), "cachestat": (451, 451),
    # where the host has what is bound into the tree
    "statmount": (457, 457), "listmount": (458, 458),
    # an anonymous file run as a program; and all of the machine's files waited for
    "execveat": (322, 281), "sync": (162, 81), "syncfs": (306, 267),
}  # fmt: skip
CLONE = (56, 220)
CLONE3 = 435
NEWEST_KNOWN = 462  # mseal; what came later is answered with ENOSYS
ANY_NAMESPACE = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; NEWTIME is for unshare alone
# A sister, not a child: its parent would be a process of ours, which collects none that it did not fork, and until it
# is collected the kernel cannot end the jail.
SISTER = 0x8000  # CLONE_PARENT
# What a session may ask for, and nothing else may: to fork into new, empty namespaces (sandbox/guest/runner.py). The
# slot lets it while it forks the session, and else not (sandbox/jail/listener.py).
SESSION_FORK_FLAGS = linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWIPC

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_*
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; both machines are little-endian
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000  # the latter: SECCOMP_RET_USER_NOTIF
_Instruction = tuple[int, int, int, int]  # opcode, how many to skip if true, if false, constant


def _refuse(number: int) -> int:
    return 0x00050000 | number  # SECCOMP_RET_ERRNO


_REFUSED: list[_Instruction] = [(_RETURN, 0, 0, _refuse(errno.EPERM))]
_UNKNOWN: list[_Instruction] = [(_RETURN, 0, 0, _refuse(errno.ENOSYS))]
_ALLOWED: list[_Instruction] = [(_RETURN, 0, 0, _ALLOW)]


def _load(argument: int, *, upper: bool = False) -> _Instruction:
    """Half of an argument; what is an int to the kernel is the lower one."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4 * upper)


def _refused_among(argument: int, *values: int) -> list[_Instruction]:
    tests = [instruction for value in values for instruction in ((_JUMP_EQUAL, 0, 1, value), *_REFUSED)]
    return [_load(argument), *tests, *_ALLOWED]


def _refused_except(argument: int, value: int) -> list[_Instruction]:
    return [_load(argument), (_JUMP_EQUAL, 0, 1, value), *_ALLOWED, *_REFUSED]


def _refused_with_pointer(argument: int) -> list[_Instruction]:
    return [
        _load(argument), (_JUMP_EQUAL, 1, 0, 0), *_REFUSED,
        _load(argument, upper=True), (_JUMP_EQUAL, 1, 0, 0), *_REFUSED, *_ALLOWED,
    ]  # fmt: skip


_F_GETLK, _F_OFD_LOCKS, _F_SETLEASE, _F_GETLEASE, _F_NOTIFY = 5, (36, 37, 38), 1024, 1025, 1026
# name: (number on x86_64, number on aarch64, what is done with a call, by its arguments)
JUDGED: dict[str, tuple[int, int, list[_Instruction]]] = {
    # Leases stop whoever opens the file, and locks are seen by all who have it open. Those of a process on a range
    # (F_SETLK) stay, for sqlite: on a file that one may not write they are seen by F_GETLK only.
    "fcntl": (72, 25, _refused_among(1, _F_GETLK, *_F_OFD_LOCKS, _F_SETLEASE, _F_GETLEASE, _F_NOTIFY)),
    "sendto": (44, 206, _refused_with_pointer(4)),
    "socketpair": (53, 199, _refused_except(0, socket.AF_UNIX)),
    # Who ignores SIGCHLD has children whose CPU time the kernel adds to nobody's.
    "rt_sigaction": (
        13, 134,
        [_load(0), (_JUMP_EQUAL, 1, 0, signal.SIGCHLD), *_ALLOWED, *_refused_with_pointer(1)],
    ),
    "prlimit64": (302, 261, _refused_except(0, 0)),  # its own: the jail's init may have the same user
}  # fmt: skip


def available() -> bool:
    return os.uname().machine in _ARCHITECTURES


def assemble(*, session: bool, machine: str | None = None) -> bytes:
    """The filter as 8-byte instructions, for `linux.Filter`; with `session`, for one that can be forked.

    A binary search: on loading a filter the kernel tries it on every number, which takes 0.2 ms with a chain of tests.
    """
    column, architecture = _ARCHITECTURES[machine or os.uname().machine]
    verdicts = {number: _REFUSED for numbers in DENIED.values() if (number := numbers[column]) is not None}
    verdicts |= {numbers[column]: judgement for *numbers, judgement in JUDGED.values()}
    verdicts[CLONE3] = _UNKNOWN
    of_a_session: list[_Instruction] = (
        [(_JUMP_EQUAL, 0, 1, SESSION_FORK_FLAGS), (_RETURN, 0, 0, _ASK)] if session else []
    )
    verdicts[CLONE[column]] = [
        _load(0), *of_a_session, (_JUMP_ANY_BIT, 0, 1, ANY_NAMESPACE | SISTER), *_REFUSED, *_ALLOWED,
    ]  # fmt: skip
    ranges: list[tuple[int, list[_Instruction]]] = []  # from which number on a verdict holds
    for number in range(NEWEST_KNOWN + 1):
        verdict = verdicts.get(number, _ALLOWED)
        if not ranges or ranges[-1][1] != verdict:
            ranges.append((number, verdict))
    ranges.append((NEWEST_KNOWN + 1, _UNKNOWN))  # x32's numbers, too
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_JUMP_EQUAL, 1, 0, architecture), *_UNKNOWN,
        (_LOAD, 0, 0, _NUMBER), *_search(ranges),
    ]  # fmt: skip
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _search(ranges: list[tuple[int, list[_Instruction]]]) -> list[_Instruction]:
    """Find the range that the number loaded is in, and do what it says."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    return [(_JUMP_FROM, len(below), 0, ranges[middle][0]), *below, *above]
