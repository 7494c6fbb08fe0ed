"""Sessions: state that lasts, forks that part, ends that are told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.errors import SandboxError, SessionBusy, SessionLost


@pytest.fixture
def session(box: Any) -> Iterator[str]:
    name = box.do("open")
    yield name
    box.do("close", session=name)


def test_state_is_kept_and_an_error_keeps_it(box: Any, session: str) -> None:
    assert box.cell(session, "x = 41").value is None
    assert box.cell(session, "1 / 0").error.type == "ZeroDivisionError"
    result = box.cell(session, "x + 1")
    assert (result.status, result.value, result.state_lost) == ("ok", "42", False)


def test_files_are_kept(box: Any, session: str) -> None:
    box.cell(session, "open('f', 'w').write('hello')")
    result = box.cell(session, "open('f').read()", fetch=["f"])
    assert (result.value, result.files) == ("'hello'", {"f": b"hello"})


def test_a_traceback_shows_lines_of_the_cell_that_has_them(box: Any, session: str) -> None:
    box.cell(session, "def f():\n    return 1 / 0")
    assert "return 1 / 0" in box.cell(session, "f()").error.traceback


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [
        ("while True: pass", "timeout", None),
        ("import os; os._exit(3)", "error", 3),
        ("import sys; sys.exit(0)", "ok", 0),
        ("import os; os.kill(os.getpid(), 9)", "killed", None),
        ("b = bytearray(200 << 20)", "memory_limit", None),
    ],
)
def test_a_cell_that_ends_its_session_says_so(box: Any, code: str, status: str, exit_code: int | None) -> None:
    session = box.do("open")
    wall_seconds = 0.5 if status == "timeout" else 5.0
    result = box.cell(session, code, limits={"wall_seconds": wall_seconds, "memory_bytes": 100 << 20})
    assert (result.status, result.exit_code, result.state_lost) == (status, exit_code, True)
    with pytest.raises(SessionLost, match=status):
        box.cell(session, "1")


def test_closing_ends_it(box: Any) -> None:
    session = box.do("open")
    box.cell(session, "import os\nif os.fork() == 0:\n    import time; time.sleep(1000)")
    box.do("close", session=session)
    with pytest.raises(SessionLost, match="closed"):
        box.cell(session, "1")
    box.do("close", session=session)


def test_an_idle_session_expires(box: Any) -> None:
    session = box.do("open", ttl_seconds=0.2)
    time.sleep(1.8)
    with pytest.raises(SessionLost, match="idle"):
        box.cell(session, "1")


def test_what_a_session_patches_reaches_nobody_else(box: Any, session: str) -> None:
    box.cell(
        session,
        "import builtins, json, sys, sympy, random\nbuiltins.len = lambda x: 7\njson.dumps = None\nsys.stdout = None\n"
        "sympy.sqrt = None\nsympy.core.cache.clear_cache = None\nrandom.seed(5)",
    )
    look = "import json, sympy, sys\nprint(len([]), json.dumps(1), sympy.sqrt(4), sympy.core.cache.clear_cache is None)"
    assert box.run(look).stdout == "0 1 2 False\n"
    other = box.do("open")
    assert box.cell(other, look).stdout == "0 1 2 False\n"
    box.do("close", session=other)


def test_a_cell_may_break_what_the_runner_uses(box: Any) -> None:
    """It may lose the session by it, and nothing else; no frame of ours is shown."""
    for code in (
        "import json\njson.dumps = json.loads = None",
        "import os\nos.write = os.dup2 = None",
        "del __builtins__",
    ):
        session = box.do("open")
        first = box.cell(session, code)
        if not first.state_lost:
            first = box.cell(session, "1")
        assert first.state_lost or first.value == "1" or first.error
        assert "/sandbox/" not in first.stderr
        box.do("close", session=session)
    assert box.run("1").value == "1"


def test_a_cell_finds_no_descriptor_but_its_own(box: Any, session: str) -> None:
    code = (
        "import os\ndef is_open(fd):\n    try: os.fstat(fd); return True\n    except OSError: return False\n"
        "[fd for fd in range(3, 1024) if fd not in (190, 191) and is_open(fd)]"  # its report and its line
    )
    for _ in range(2):
        assert box.cell(session, code).value == "[]"


# -- forks -------------------------------------------------------------------------------------------------------------


def test_neither_branch_sees_what_the_other_writes(box: Any, session: str) -> None:
    box.cell(session, "a = [1]\nopen('f', 'w').write('x')\nopen('/tmp/g', 'w').write('y')")
    branch = box.do("fork", session=session)
    box.cell(branch, "a.append('branch')\nopen('f', 'a').write('branch')\nopen('new', 'w').close()")
    box.cell(session, "a.append('trunk')\nopen('/tmp/g', 'a').write('trunk')")
    look = "import os\na, open('f').read(), open('/tmp/g').read(), sorted(os.listdir('.'))"
    assert box.cell(session, look).value == "([1, 'trunk'], 'x', 'ytrunk', ['f'])"
    assert box.cell(branch, look).value == "([1, 'branch'], 'xbranch', 'y', ['f', 'new'])"
    box.do("close", session=branch)


def test_a_branch_outlives_its_parent_and_can_be_forked_itself(box: Any) -> None:
    trunk = box.do("open")
    box.cell(trunk, "a = 1")
    branch = box.do("fork", session=trunk)
    twig = box.do("fork", session=branch)
    for name in (trunk, branch):
        box.cell(name, "a = 0\nimport os\nif os.fork() == 0:\n    import time; time.sleep(1000)")
        box.do("close", session=name)
    assert box.cell(twig, "a").value == "1"
    box.do("close", session=twig)


def at_rest(box: Any) -> int:
    """The engine's processes, once their number stays: the next fork is prepared after this one is told."""
    counts: list[int] = []
    while len(counts) < 4 or len(set(counts[-4:])) > 1:
        counts.append(box.leftovers()["processes"])
        time.sleep(0.03)
    return counts[-1]


def test_nothing_that_a_closed_parent_started_runs_on_below_its_branch(box: Any) -> None:
    trunk = box.do("open")
    branch = box.do("fork", session=trunk)
    box.cell(trunk, "import os, time\nif os.fork() == 0: time.sleep(1000)")
    before = at_rest(box)
    box.do("close", session=trunk)
    assert at_rest(box) == before - 2, "of the trunk only its init is left"
    box.do("close", session=branch)


def test_what_cannot_be_copied_keeps_no_session_from_being_forked(box: Any, session: str) -> None:
    box.cell(session, "import os\nos.mkfifo('pipe')\nos.symlink('nowhere', 'link')\nos.symlink('loop', 'loop')")
    branch = box.do("fork", session=session)
    assert box.cell(branch, "sorted(os.listdir()), os.readlink('link')").value == "(['link', 'loop'], 'nowhere')"
    box.do("close", session=branch)


def test_a_branch_that_dies_leaves_its_parent(box: Any, session: str) -> None:
    box.cell(session, "a = 1")
    for code in (
        "while True: pass",
        "import os; os.kill(os.getpid(), 9)",
        "import os; os._exit(1)",
        "x = bytearray(300 << 20)",
    ):
        branch = box.do("fork", session=session)
        assert box.cell(branch, code, limits={"wall_seconds": 0.4, "memory_bytes": 100 << 20}).state_lost
    assert box.cell(session, "a").value == "1"


def test_a_branch_cannot_signal_its_init_to_death(box: Any, session: str) -> None:
    """Its end would look like one from outside, which is no program's."""
    box.cell(session, "import os, signal, time\nfor n in (10, 15): signal.signal(n, lambda *_: os._exit(1))")
    # Its init gives up the handlers it was born with; slowly, here, so that the branch is there first.
    box.cell(session, "give_up = signal.signal\nsignal.signal = lambda *a: (time.sleep(0.005), give_up(*a))")
    branch = box.do("fork", session=session)
    code = (
        "import os, time\nfor n in (1, 2, 6, 9, 10, 11, 15, 40): os.kill(1, n)\ntime.sleep(0.2); signal.getsignal(15)"
    )
    assert "<lambda>" in box.cell(branch, code).value, "the branch itself keeps its handlers"
    box.do("close", session=branch)


def test_a_parent_that_times_out_leaves_its_branch(box: Any) -> None:
    trunk = box.do("open")
    box.cell(trunk, "a = 1")
    branch = box.do("fork", session=trunk)
    assert box.cell(trunk, "while True: pass", limits={"wall_seconds": 0.3}).status == "timeout"
    assert box.cell(branch, "a").value == "1"
    box.do("close", session=branch)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()", "thread"),
        ("import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', 'input()'])", "child|open"),
        ("f = open('f', 'w')", "open file"),
        ("import os\nr, w = os.pipe()", "open file"),
        ("import mmap\nm = mmap.mmap(-1, 4096)", "shared memory"),
    ],
)
def test_a_fork_that_would_not_be_a_copy_is_refused(box: Any, session: str, code: str, why: str) -> None:
    box.cell(session, code)
    with pytest.raises(SessionBusy, match=why):
        box.do("fork", session=session)
    assert box.cell(session, "1").value == "1"


def test_a_session_may_step_into_no_other_namespaces(box: Any, session: str) -> None:
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "[libc.unshare(f) for f in (0x10000000, 0x20000, 0x78020000)], libc.mount(b'x', b'/box', b'tmpfs', 0, 0)"
    )
    assert box.cell(session, code).value == "([-1, -1, -1], -1)"


def test_a_session_forks_into_namespaces_when_it_is_forked_and_else_not(box: Any, session: str) -> None:
    code = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "clone = {'x86_64': 56, 'aarch64': 220}[os.uname().machine]\n"
        "if (child := libc.syscall(clone, 0x38020000, 0, 0, 0, 0)) == 0: os._exit(0)\n"
        "child, ctypes.get_errno()"
    )
    assert box.cell(session, code).value == "(-1, 1)"
    branch = box.do("fork", session=session)
    twig = box.do("fork", session=branch)
    for each in (branch, twig, session):
        assert box.cell(each, code).value == "(-1, 1)"
    box.do("close", session=branch)
    box.do("close", session=session)
    assert box.cell(twig, code).value == "(-1, 1)"
    box.do("close", session=twig)


def test_what_is_made_for_a_branch_gains_nothing(box: Any, session: str) -> None:
    """A session's own code runs while it is forked, if it wants: in the new namespaces, which give it no right."""
    code = (
        "import ctypes, sys\nlinux = sys.modules['sandbox.guest.runner'].linux\ndrop = linux.drop_capabilities\n"
        "def try_all():\n    global tries\n    libc = ctypes.CDLL(None)\n"
        "    tries = libc.mount(b'x', b'/box', b'tmpfs', 0, 0), libc.unshare(0x20000), libc.chroot(b'/box')\n"
        "    drop()\nlinux.drop_capabilities = try_all"
    )
    box.cell(session, code)
    branch = box.do("fork", session=session)
    assert box.cell(branch, "tries").value == "(-1, -1, -1)"
    box.do("close", session=branch)


def test_a_session_s_code_meets_none_of_its_branches_as_children(box: Any, session: str) -> None:
    code = "import os\ntry: print(os.wait())\nexcept ChildProcessError as error: print('none')"
    branches = [box.do("fork", session=session) for _ in range(2)]
    for branch in branches:
        assert box.cell(session, code).stdout == box.cell(branch, code).stdout == "none\n"
        box.do("close", session=branch)
    assert box.cell(session, code).stdout == "none\n"


def test_branches_that_have_ended_count_among_no_processes_of_the_session(box: Any) -> None:
    session = box.do("open", limits={"processes": 14})
    branches = [box.do("fork", session=session) for _ in range(6)]
    for branch in branches:
        box.do("close", session=branch)
    code = (
        "import os, time\n"
        "children = []\n"
        "for _ in range(9):\n"
        "    if (child := os.fork()) == 0: time.sleep(0.3); os._exit(0)\n"
        "    children.append(child)\n"
        "sum(os.waitpid(child, 0)[1] for child in children)"
    )
    try:
        result = box.cell(session, code, limits={"processes": 14})
        assert (result.status, result.value) == ("ok", "0"), result
    finally:
        box.do("close", session=session)


# Answers the order to fork in its own words, by processes that are gone when they are heard of, and sends open files
# along, which must not stay open with those who hear it.
LIES_ABOUT_FORKING = """
import os, socket, sys
fork = os.fork
def lie(_):
    line = sys._getframe(1).f_locals["new_line"]
    for word in (b'{"branch": "init"}', b'{"branch": "program"}'):
        if (child := fork()) == 0:
            socket.send_fds(socket.socket(fileno=line), [word], [0, 1, 2])
            os._exit(0)
        os.waitpid(child, 0)
    return fork() or os._exit(0)
sys.modules["sandbox.jail.linux"].fork_into = lie
"""


def test_a_session_that_lies_about_its_fork_harms_itself_only(box: Any, session: str) -> None:
    others = [box.do("open") for _ in range(2)]  # one a slot
    for other in others:
        box.cell(other, "x = 41")
    box.cell(session, LIES_ABOUT_FORKING)
    with pytest.raises(SandboxError):
        box.do("fork", session=session)
    for other in others:
        assert box.cell(other, "x + 1").value == "42"
        box.do("close", session=other)


def test_a_session_that_floods_its_line_holds_up_nobody(box: Any, session: str) -> None:
    """It says that its cells are done, before they are asked for, and reads no order: its line fills up."""
    flood = "import os\nwhile True:\n    os.write(191, b'done')"
    for _ in range(300):  # what a socket holds of orders that nobody reads
        with contextlib.suppress(SandboxError):
            box.cell(session, flood, limits={"wall_seconds": 1.0})
    assert box.run("6 * 7").value == "42"
