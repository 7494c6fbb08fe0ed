"""`python -m sandbox doctor` tells what holds here, also on a machine where no session is forked or no jail is made."""

from __future__ import annotations

import json
import os
import platform
import struct
import subprocess
import sys

import pytest

from sandbox.jail import linux, listener

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or os.geteuid() != 0,
    reason="numbers of x86_64; as root the jail needs no user namespace",
)
_ALLOW, _EPERM = 0x7FFF0000, 0x00050001
_SYS_UNSHARE = 272


def _program(*instructions: tuple[int, int, int, int]) -> linux.Filter:
    return linux.Filter(b"".join(struct.pack("HBBI", *each) for each in instructions))


def _doctor(before: str, *flags: str) -> tuple[int, str]:
    """Exit code and output of the doctor in a process that has first called a function of this module."""
    code = (
        f"from tests.sandbox.engine import test_doctor as t; t.{before}(); import runpy, sys; "
        f"sys.argv[1:] = {['doctor', *flags]}; runpy.run_module('sandbox', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def as_it_is() -> None:
    pass


def with_a_filter_that_asks() -> None:
    """What containers do that have their system calls answered by an agent: no second filter may ask beside it."""
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    os.set_inheritable(listener.load(_program((0x06, 0, 0, _ALLOW))), True)


def without_unshare() -> None:
    """What Docker's own profile does to a container without CAP_SYS_ADMIN."""
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.load_seccomp(
        _program((0x20, 0, 0, 0), (0x15, 0, 1, _SYS_UNSHARE), (0x06, 0, 0, _EPERM), (0x06, 0, 0, _ALLOW))
    )


@pytest.mark.parametrize(
    ("before", "code", "says"),
    [
        ("as_it_is", 0, ["jail    works", "forks   work"]),
        ("with_a_filter_that_asks", 0, ["jail    works", "forks   refused: no session can be forked here"]),
        ("without_unshare", 1, ["jail    does not work", "docs/containers.md"]),
    ],
)
def test_the_doctor_says_what_works_here(before: str, code: int, says: list[str]) -> None:
    exit_code, said = _doctor(before)
    assert exit_code == code, said
    assert all(words in said for words in says), said
    assert "Traceback" not in said


@pytest.mark.parametrize(("before", "code"), [("as_it_is", 0), ("with_a_filter_that_asks", 0), ("without_unshare", 1)])
def test_the_doctor_says_the_same_as_json(before: str, code: int) -> None:
    exit_code, said = _doctor(before, "--json")
    assert exit_code == code, said
    (line,) = said.splitlines()
    found = json.loads(line)
    assert found["user"] == 0
    assert found["jail"]["works"] == (code == 0)
    assert found["forks"]["works"] == (before == "as_it_is")
    assert {"name", "found", "detail", "remedy", "needed"} == set(found["checks"][0])
    assert [check["name"] for check in found["checks"] if check["needed"] and not check["found"]] == []
