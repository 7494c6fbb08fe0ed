"""The filter of system calls, tried on every number by an interpreter of its instructions that is no part of it."""

from __future__ import annotations

import errno
import struct

import pytest

from sandbox.jail import linux, seccomp

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
SESSION_FORK = linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWIPC


def verdict(program: bytes, number: int, architecture: int, argument: int = 0) -> int:
    """What the kernel would do: classic BPF as in Documentation/networking/filter.rst."""
    instructions = list(struct.iter_unpack("HBBI", program))
    data = {0: number, 4: architecture, 16: argument}
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
        elif number in denied:
            expected = ERRNO | errno.EPERM
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
    for bit in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(program, clone, architecture, 0x11 | bit) == ERRNO | errno.EPERM
        assert verdict(program, clone, architecture, SESSION_FORK ^ bit) == ERRNO | errno.EPERM
    for more in (0x11, 0x100, 0x200, 0x8000):  # a signal; shared memory, folder; another's child
        assert verdict(program, clone, architecture, SESSION_FORK | more) == ERRNO | errno.EPERM
    assert verdict(program, clone, architecture, SESSION_FORK) == (ALLOW if session else ERRNO | errno.EPERM)


def test_another_architecture_s_numbers_are_refused() -> None:
    program = seccomp.assemble(session=False, machine="x86_64")
    assert {verdict(program, number, 0x40000003) for number in range(512)} == {ERRNO | errno.ENOSYS}  # i386
