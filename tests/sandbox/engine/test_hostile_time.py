"""Programs that do not end, or do not want to: each is over within its limit, with what it printed before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sandbox.types import ExecResult

SHORT: dict[str, Any] = {"wall_seconds": 0.4}
FOREVER = {
    "a busy loop": "while True: pass",
    "a sleep": "import time; time.sleep(1000)",
    "a C call that never returns": "10 ** 10 ** 8",
    "a backtracking regex": "import re; re.match('(a+)+$', 'a' * 64 + 'b')",
    "a sympy hang": "from sympy import *; factorint(nextprime(2**150) * nextprime(2**151))",
    "SIGINT, SIGTERM and SIGALRM ignored": (
        "import signal\nfor s in (2, 14, 15): signal.signal(s, signal.SIG_IGN)\nsignal.alarm(1)\nwhile True: pass"
    ),
    "every exception swallowed": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "a timer of its own": (
        "import signal\nsignal.signal(14, lambda *a: None)\nsignal.setitimer(0, 0.05, 0.05)\nwhile True: signal.pause()"
    ),
    "atexit": "import atexit, time; atexit.register(time.sleep, 1000)",
    "a thread that never ends": "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start()",
    "__del__": "import time\nclass A:\n    def __del__(self): time.sleep(1000)\na = A()\ndel a",
    "__repr__": "class A:\n    def __repr__(self):\n        while True: pass\nA()",
    "__str__ of its exception": "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
    "SIGXCPU ignored": "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    "standard input": "import os; r, w = os.pipe(); os.read(r, 1)",
    "stopped": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("code", FOREVER.values(), ids=FOREVER.keys())
def test_what_does_not_end_is_a_timeout(must: Callable[..., ExecResult], code: str) -> None:
    result = must("print('before')\n" + code, SHORT, {"status": "timeout", "stdout": "before\n", "exit_code": None})
    assert 0.4 <= result.wall_seconds < 1.5


def test_a_hanging_import_is_a_timeout(must: Callable[..., ExecResult]) -> None:
    must("import slow", SHORT, {"status": "timeout"}, files={"slow.py": "d2hpbGUgVHJ1ZTogcGFzcw=="})


def test_cpu_time_is_limited_apart_from_the_clock(must: Callable[..., ExecResult]) -> None:
    limits = {"wall_seconds": 8.0, "cpu_seconds": 0.3}
    result = must("while True: pass", limits, {"status": "timeout"})
    assert 0.3 <= result.cpu_seconds < 1.5
    assert must("import time; time.sleep(0.6); print('slept')", limits, {"status": "ok"}).cpu_seconds < 0.3


def test_cpu_time_of_children_counts(must: Callable[..., ExecResult]) -> None:
    code = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    result = must(code, {"wall_seconds": 6.0, "cpu_seconds": 0.5}, {"status": "timeout"})
    assert result.wall_seconds < 5


@pytest.mark.parametrize("seconds", [0, -1, 1e9, float("nan"), float("inf"), "1", None])
def test_a_limit_that_is_none_is_refused(box: Any, seconds: object) -> None:
    from sandbox.errors import BadRequest

    with pytest.raises(BadRequest, match="wall_seconds"):
        box.run("1", limits={"wall_seconds": seconds})


def test_a_cell_has_its_cpu_time_to_itself(box: Any) -> None:
    session = box.do("open", limits={"cpu_seconds": 1.0})
    work = "import time\nend = time.process_time() + 0.7\nwhile time.process_time() < end: pass"
    for _ in range(4):
        assert box.cell(session, work, limits={"cpu_seconds": 1.0}).status == "ok"
    assert box.cell(session, "while True: pass", limits={"cpu_seconds": 0.3}).status == "timeout"


SPEND = (
    "import os, time\ndef spend(seconds):\n"
    "    end = time.process_time() + seconds\n    while time.process_time() < end: pass\n"
)
# Each leg is an orphan's: the one before has ended, and nobody has waited for it.
RELAY = SPEND + (
    "r, w = os.pipe()\ndef leg(k):\n    spend(0.2)\n"
    "    if k == 0: os.write(w, b'x')\n    elif os.fork() == 0: leg(k - 1)\n"
    "    os._exit(0)\nif os.fork() == 0:\n    if os.fork() == 0: leg({})\n    os._exit(0)\nos.wait()\nos.read(r, 1)\n"
)


def test_cpu_time_of_orphans_counts(must: Callable[..., ExecResult]) -> None:
    assert must(RELAY.format(2), {"wall_seconds": 9.0}, {"status": "ok"}).cpu_seconds >= 0.5
    result = must(RELAY.format(40), {"wall_seconds": 30.0, "cpu_seconds": 0.6}, {"status": "timeout"})
    assert 0.5 <= result.cpu_seconds < 3


def test_cpu_time_of_what_a_program_leaves_behind_counts(must: Callable[..., ExecResult]) -> None:
    left = SPEND + "r, w = os.pipe()\nif os.fork() == 0: spend(0.3); os.write(w, b'x'); spend(60)\nos.read(r, 1)\n"
    assert must(left, {"wall_seconds": 9.0}, {"status": "ok"}).cpu_seconds >= 0.28


def test_cpu_time_of_children_is_the_cell_s_that_had_them(box: Any) -> None:
    session = box.do("open")
    child = SPEND + "if os.fork() == 0: spend(0.3); os._exit(0)\nos.wait()"
    for _ in range(4):
        result = box.cell(session, child, limits={"cpu_seconds": 1.0})
        assert result.status == "ok"
        assert 0.28 <= result.cpu_seconds < 0.9, result
    idle = box.cell(session, "time.sleep(0.7)", limits={"cpu_seconds": 0.5})
    assert (idle.status, idle.cpu_seconds < 0.2) == ("ok", True), idle
    box.do("close", session=session)


def test_a_cell_whose_children_use_up_its_cpu_time_is_a_timeout(box: Any) -> None:
    session = box.do("open")
    code = SPEND + "while True:\n    if os.fork() == 0: spend(0.1); os._exit(0)\n    os.wait()"
    assert box.cell(session, code, limits={"cpu_seconds": 0.5}).status == "timeout"
