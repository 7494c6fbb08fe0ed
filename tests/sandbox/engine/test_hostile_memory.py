"""Programs that want more memory than they may have: they end, the sandbox does not."""

# ruff: noqa: E501 - the rows are programs
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sandbox.types import ExecResult

LIMITS: dict[str, Any] = {"wall_seconds": 3.0, "memory_bytes": 100 << 20, "file_bytes": 16 << 20}
OVER: dict[str, Any] = {"status": "memory_limit", "exit_code": None, "value": None}
_SOCKETS = (
    "import os, socket, time\nfor _ in range(6):\n    if os.fork() == 0: break\nkeep = []\n"
    "try:\n    while True:\n        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "        keep.append(b); a.setblocking(False)\n"
    "        try:\n            while True: a.send(bytes(60000))\n        except BlockingIOError: pass\n        {}\n"
    "except OSError: time.sleep(9)\n"
)
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "one big object": ("x = bytearray(200 << 20)", OVER),
    "numpy zeros, touched": ("import numpy as np; x = np.zeros(25 << 20); x[:] = 1", OVER),
    "numpy zeros, untouched": ("import numpy as np; np.zeros(25 << 20).size", {"status": "ok", "value": "26214400"}),
    "many small ones": ("x = []\nwhile True: x.append([1])", OVER),
    "children's sum": (
        "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        x = bytearray(60 << 20); time.sleep(2); os._exit(0)\n"
        "time.sleep(2)",
        {"status": "memory_limit"},
    ),
    "anonymous shared memory": ("import mmap; m = mmap.mmap(-1, 200 << 20)\nm.write(b'x' * (200 << 20))", OVER),
    "memory in files that have no name": (
        "import os\nn = 0\nfor _ in range(20):\n    try: n += os.write(os.memfd_create('x'), b'x' * (16 << 20))\n"
        "    except OSError: pass\nprint(n >> 20)",
        {"stdout": lambda text: text == "" or int(text) <= 100},
    ),
    "page tables": (
        "import ctypes, mmap\nlibc = ctypes.CDLL(None)\nlibc.mmap.restype = ctypes.c_void_p\nsize = 1 << 40\n"
        "start = libc.mmap(None, ctypes.c_size_t(size), 1, 0x4022, -1, 0)\n"  # read only: all of it the page of zeros
        "libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), 15)\n"
        "for at in range(start, start + size, 2 << 20): ctypes.c_char.from_address(at).value",
        OVER | {"status": {"memory_limit", "timeout"}, "peak_memory_bytes": lambda peak: peak > 50 << 20},
    ),
    "buffers of sockets": (_SOCKETS.format("keep.append(a)"), OVER),
    "buffers of sockets whose writer is closed": (_SOCKETS.format("a.close()"), OVER),
    "named shared memory": (
        "from multiprocessing.shared_memory import SharedMemory\n"
        "try: SharedMemory(create=True, size=64 << 20).buf[:] = bytes(64 << 20)\nexcept OSError as error: print(error.errno)",
        {"status": "ok", "stdout": "27\n"},
    ),
    "a quadratic repr": (
        "class A:\n    def __repr__(self): return 'x' * (300 << 20)\nA()",
        {"status": {"memory_limit"}},
    ),
    "the box filled": (
        "try:\n    open('f', 'wb').write(b'x' * (32 << 20))\nexcept OSError as error: print(error.errno)",
        {"status": "ok", "stdout": lambda text: text in ("28\n", "27\n")},
    ),
    "/dev/shm filled": (
        "n = 0\ntry:\n    while True:\n        open(f'/dev/shm/{n}', 'wb').write(b'x' * (4 << 20)); n += 1\n"
        "except OSError as error: print(error.errno, n)",
        {"status": "ok", "stdout": "28 4\n"},
    ),
    "no recursion limit": (
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
        {"status": {"killed", "memory_limit", "error"}},
    ),
    "recursion": ("def f(): f()\nf()", {"status": "error", "error": lambda e: e.type == "RecursionError"}),
    "a deep AST": ("(" * 5000 + ")" * 5000, {"status": "error"}),
    "a deep expression": ("-" * 50000 + "1", {"status": {"error", "killed"}}),
    "a number of 5001 digits": ("print(10 ** 5000)", {"status": "ok", "stdout": lambda text: len(text) == 5002}),
    "a number that is never written": ("print(10 ** (10 ** 8))", {"status": {"timeout", "memory_limit"}}),
    "a MemoryError of its own": ("raise MemoryError", {"status": "error", "error": lambda e: e.type == "MemoryError"}),
    "a request that no machine could meet": ("bytearray(1 << 62)", {"status": "error"}),
}


@pytest.mark.parametrize(("code", "expected"), ROWS.values(), ids=ROWS.keys())
def test_memory_is_limited(must: Callable[..., ExecResult], code: str, expected: dict[str, Any]) -> None:
    must(code, LIMITS, expected)


def test_memory_that_is_reserved_and_not_used_is_bounded_where_it_is_only_watched(box: Any) -> None:
    """A look now and then does not see what comes and goes between two looks."""
    if box.user == "root":
        pytest.skip("as root control groups limit what is used, whatever is reserved")
    result = box.run("bytearray(1 << 30)", limits=LIMITS)
    assert (result.status, result.error and result.error.type) == ("error", "MemoryError")


def test_memory_is_the_run_s_own(box: Any) -> None:
    """Two runs side by side, each within its limit, do not share one."""
    order = {"code": "x = bytearray(70 << 20); import time; time.sleep(0.3)", "limits": LIMITS}
    assert [result["status"] for result in box.do("pair", orders=[order, order])] == ["ok", "ok"]


def test_peak_memory_is_reported(box: Any) -> None:
    small, big = box.run("1"), box.run("x = bytearray(64 << 20)")
    assert small.peak_memory_bytes < 24 << 20
    assert 64 << 20 <= big.peak_memory_bytes < 100 << 20


def test_what_a_session_holds_counts_in_every_cell(box: Any) -> None:
    session = box.do("open", limits=LIMITS)
    assert box.cell(session, "keep = [bytearray(60 << 20)]", limits=LIMITS).status == "ok"
    # It stays a moment: without control groups memory is looked at 50 times a second.
    result = box.cell(session, "import time; keep.append(bytearray(60 << 20)); time.sleep(0.3)", limits=LIMITS)
    assert (result.status, result.state_lost) == ("memory_limit", True)


def test_a_cell_whose_session_holds_more_than_it_may_have_ends_it(box: Any) -> None:
    session = box.do("open", limits=LIMITS)
    assert box.cell(session, "keep = bytearray(80 << 20)", limits=LIMITS).status == "ok"
    result = box.cell(session, "import time; time.sleep(1)", limits=LIMITS | {"memory_bytes": 40 << 20})
    assert (result.status, result.state_lost) == ("memory_limit", True)


def test_what_a_fork_copies_is_under_no_run_s_limit(box: Any) -> None:
    """Neither under that of a run before, which is small, nor counted as the memory of one beside it."""
    session = box.do("open")
    assert box.cell(session, "open('f', 'wb').write(bytes(60 << 20))").status == "ok"
    for _ in range(2):  # on both slots
        box.do("pair", orders=[{"code": "1", "limits": LIMITS | {"memory_bytes": 40 << 20}}] * 2)
    branch = box.do("fork", session=session)
    assert box.cell(branch, "import os; os.path.getsize('f') >> 20").value == "60"
    box.do("close", session=branch)
    box.do("close", session=session)


def test_what_earlier_runs_have_read_allows_no_later_one_more(box: Any) -> None:
    """File pages stay charged to the slot's control group when the run that has read them is gone."""
    read = (
        "import os, sys\nn = 0\nfor top, _, names in os.walk(os.path.dirname(os.__file__)):\n    for name in names:\n"
        "        file = os.open(os.path.join(top, name), os.O_RDONLY)\n"
        "        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)\n"
        "        while chunk := os.read(file, 1 << 20): n += len(chunk)\n        os.close(file)\n"
        "        if n > 80 << 20: sys.exit()"
    )
    for _ in range(2):  # two slots
        box.do("pair", orders=[{"code": read, "limits": LIMITS | {"wall_seconds": 20.0, "cpu_seconds": 20.0}}] * 2)
    results = box.do(
        "pair", orders=[{"code": "import time\nx = bytearray(110 << 20)\ntime.sleep(0.3)", "limits": LIMITS}] * 2
    )
    assert [result["status"] for result in results] == ["memory_limit"] * 2
