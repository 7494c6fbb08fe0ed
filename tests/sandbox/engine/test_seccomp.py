"""The filter of system calls, tried on every number by an interpreter of its instructions that is no part of it."""

from __future__ import annotations

import errno
import struct

import pytest

from sandbox.jail import linux, seccomp

ALLOW, ASK, ERRNO = 0x7FFF0000, 0x7FC00000, 0x00050000
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
SESSION_FORK = linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWIPC


def verdict(program: bytes, number: int, architecture: int, *arguments: int) -> int:
    """What the kernel would do: classic BPF as in Documentation/networking/filter.rst."""
    instructions = list(struct.iter_unpack("HBBI", program))
    data = {0: number, 4: architecture}
    for index in range(6):
        argument = arguments[index] if index < len(arguments) else 0
        data |= {16 + 8 * index: argument & 0xFFFFFFFF, 20 + 8 * index: argument >> 32}
    at, accumulator = 0, 0
    while True:
        opcode, if_true, if_false, constant = instructions[at]
        at += 1
        if opcode == 0x20:
            accumulator = data[constant]
        elif opcode == 0x06:
            return constant
        else:
            holds = {
                0x15: accumulator == constant, 0x25: accumulator > constant, 0x35: accumulator >= constant,
                0x45: bool(accumulator & constant),
            }[opcode]  # fmt: skip
            at += if_true if holds else if_false


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_gets_what_the_table_says(machine: str, session: bool) -> None:
    column, architecture = MACHINES[machine]
    program = seccomp.assemble(session=session, machine=machine)
    denied = {numbers[column]: name for name, numbers in seccomp.DENIED.items()}
    for number in [*range(700), 0x40000000, 0x40000038, 0xFFFFFFFF]:
        if number == seccomp.CLONE3 or number > seccomp.NEWEST_KNOWN:
            expected = ERRNO | errno.ENOSYS
        elif number in denied or number == seccomp.JUDGED["socketpair"][column]:
            expected = ERRNO | errno.EPERM  # all arguments are 0: a pair of no family
        else:
            expected = ALLOW
        assert verdict(program, number, architecture) == expected, (number, denied.get(number))


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("machine", MACHINES)
def test_namespaces_are_for_sessions_and_all_at_once(machine: str, session: bool) -> None:
    column, architecture = MACHINES[machine]
    program = seccomp.assemble(session=session, machine=machine)
    clone = seccomp.CLONE[column]
    assert verdict(program, clone, architecture, 0x11) == ALLOW  # a fork; 0x3d0f00, below, a thread
    assert verdict(program, clone, architecture, 0x3D0F00) == ALLOW
    assert verdict(program, clone, architecture, 0x8011) == ERRNO | errno.EPERM  # a child of its parent's
    for bit in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(program, clone, architecture, 0x11 | bit) == ERRNO | errno.EPERM
        assert verdict(program, clone, architecture, SESSION_FORK ^ bit) == ERRNO | errno.EPERM
    for more in (0x11, 0x100, 0x200, 0x8000):  # a signal; shared memory, folder; another's child
        assert verdict(program, clone, architecture, SESSION_FORK | more) == ERRNO | errno.EPERM
    assert verdict(program, clone, architecture, SESSION_FORK) == (ASK if session else ERRNO | errno.EPERM)


FAR = 0x7FFF_0000_0000  # an address whose lower half is 0
# call: (arguments, whether it may be made)
BY_ARGUMENTS = [
    ("fcntl", (3, 1, 0), True), ("fcntl", (3, 4, 0x800), True), ("fcntl", (3, 1030, 0), True),  # and F_DUPFD_CLOEXEC
    ("fcntl", (3, 6, FAR), True), ("fcntl", (3, 7, FAR), True), ("fcntl", (3, 5, FAR), False),  # F_GETLK
    ("fcntl", (3, 1024, 1), False), ("fcntl", (3, 1 << 32 | 1024, 1), False), ("fcntl", (3, 1025, 0), False),
    ("fcntl", (3, 1026, 1), False), ("fcntl", (3, 36, FAR), False), ("fcntl", (3, 37, FAR), False),
    ("sendto", (3, FAR, 9, 0, 0, 0), True), ("sendto", (3, FAR, 9, 0, FAR, 16), False),
    ("sendto", (3, FAR, 9, 0, 0x1000, 16), False),
    ("socketpair", (1, 1, 0, FAR), True), ("socketpair", (1, 2, 0, FAR), True), ("socketpair", (30, 5, 0, FAR), False),
    ("rt_sigaction", (17, 0, FAR, 8), True), ("rt_sigaction", (17, FAR, 0, 8), False),
    ("rt_sigaction", (1 << 32 | 17, FAR, 0, 8), False), ("rt_sigaction", (14, FAR, FAR, 8), True),
    ("prlimit64", (0, 7, FAR, 0), True), ("prlimit64", (1, 7, FAR, 0), False),
]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("call", "arguments", "may"), BY_ARGUMENTS)
def test_a_call_is_judged_by_its_arguments(machine: str, call: str, arguments: tuple[int, ...], may: bool) -> None:
    column, architecture = MACHINES[machine]
    program = seccomp.assemble(session=False, machine=machine)
    got = verdict(program, seccomp.JUDGED[call][column], architecture, *arguments)
    assert got == (ALLOW if may else ERRNO | errno.EPERM)


def test_another_architecture_s_numbers_are_refused() -> None:
    program = seccomp.assemble(session=False, machine="x86_64")
    assert {verdict(program, number, 0x40000003) for number in range(512)} == {ERRNO | errno.ENOSYS}  # i386
