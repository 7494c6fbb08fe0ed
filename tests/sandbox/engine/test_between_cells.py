"""Between two cells a session stands still, and a branch's time and memory are no one else's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

SPEND = (
    "import os, threading, time\ndef spend(seconds):\n"
    "    end = time.process_time() + seconds\n    while time.process_time() < end: pass\n"
)
# Which of its clocks a process that is left behind, or a thread, runs on.
LEFT = {
    "a child": "child = os.fork()\nif child == 0: spend(60)\nclock = ~child << 3 | 2",
    "an orphan": (
        "r, w = os.pipe()\nif os.fork() == 0:\n    if (orphan := os.fork()) == 0: spend(60)\n"
        "    os.write(w, str(orphan).encode()); os._exit(0)\nos.wait()\nclock = ~int(os.read(r, 9)) << 3 | 2"
    ),
    "a thread": (
        "def count():\n    while True: time.process_time()\n"
        "threading.Thread(target=count, daemon=True).start()\nclock = time.CLOCK_PROCESS_CPUTIME_ID"
    ),
    "a thread that waits": (
        "def count():\n    time.sleep(0.5)\n    while True: time.process_time()\n"
        "threading.Thread(target=count, daemon=True).start()\nclock = time.CLOCK_PROCESS_CPUTIME_ID"
    ),
    "what stops and continues all others": (
        "child = os.fork()\nif child == 0:\n    while True: os.kill(os.getppid(), 18)\nclock = ~child << 3 | 2"
    ),
}


@pytest.fixture
def session(box: Any) -> Iterator[str]:
    name = box.do("open")
    yield name
    box.do("close", session=name)


@pytest.mark.parametrize("code", LEFT.values(), ids=LEFT.keys())
def test_what_a_cell_leaves_computes_nothing_until_the_next(box: Any, session: str, code: str) -> None:
    first = box.cell(session, f"{SPEND}{code}\nprint(time.clock_gettime(clock))")
    assert first.status == "ok", first
    time.sleep(1.5)
    later = box.cell(session, "time.clock_gettime(clock)")
    assert float(later.value) - float(first.stdout) < 0.7, "0.05 s are free, the rest is a busy machine's"


def test_what_a_cell_leaves_goes_on_with_the_next(box: Any, session: str) -> None:
    box.cell(session, "import threading, time\nseen = []\n" + (
        "def count():\n    while True: seen.append(1); time.sleep(0.001)\n"
        "threading.Thread(target=count, daemon=True).start()"))  # fmt: skip
    time.sleep(0.3)
    assert (
        box.cell(
            session, "n = len(seen)\nwhile len(seen) < n + 20: time.sleep(0.01)", limits={"wall_seconds": 9.0}
        ).status
        == "ok"
    )


def test_a_cell_that_says_it_is_done_and_is_not_goes_on_in_the_next_one_s_time(box: Any, session: str) -> None:
    code = f"{SPEND}os.write(191, b'x')\nspend(0.8)"
    assert box.cell(session, code, limits={"wall_seconds": 1.0}).status == "ok"
    time.sleep(2.0)
    assert box.cell(session, "1", limits={"wall_seconds": 20.0}).cpu_seconds > 0.2


def test_words_on_its_line_keep_no_session_from_being_stopped(box: Any, session: str) -> None:
    words = "if os.fork() == 0:\n    while True: os.write(191, b'x'); time.sleep(0.02)\n"
    box.cell(session, f"{SPEND}child = os.fork()\nif child == 0: spend(60)\n{words}")
    time.sleep(1.5)
    # The words may end this cell, too, before it has said anything; then it says so in the next one's time.
    said = [box.cell(session, "print(time.clock_gettime(~child << 3 | 2))").stdout.split() for _ in range(3)]
    assert float(next(filter(None, said), ["0"])[-1]) < 0.9


def test_a_branch_s_cpu_time_is_not_its_parent_s(box: Any, session: str) -> None:
    branch = box.do("fork", session=session)
    assert box.cell(branch, SPEND + "spend(0.8)").status == "ok"
    box.do("close", session=branch)
    result = box.cell(session, "import time\ntime.sleep(0.7)", limits={"cpu_seconds": 0.5})
    assert (result.status, result.cpu_seconds < 0.3) == ("ok", True), result


def test_a_branch_s_memory_is_not_its_parent_s(box: Any, session: str) -> None:
    limits = {"memory_bytes": 100 << 20}
    branch = box.do("fork", session=session)
    assert box.cell(branch, "x = bytearray(60 << 20)", limits=limits).status == "ok"
    assert box.cell(session, "import time\nx = bytearray(60 << 20); time.sleep(0.2)", limits=limits).status == "ok"
    box.do("close", session=branch)


def test_a_branch_that_is_ended_is_told_what_it_computed(box: Any, session: str) -> None:
    for code, status in (("spend(60)", "timeout"), ("spend(0.4); os._exit(0)", "ok")):
        branch = box.do("fork", session=session)
        result = box.cell(branch, SPEND + code, limits={"cpu_seconds": 0.5})
        assert result.status == status
        assert 0.3 <= result.cpu_seconds < 2, result
