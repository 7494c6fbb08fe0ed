"""Programs that write too much, the wrong bytes, or where they should not."""

# ruff: noqa: E501 - the rows are programs
from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.types import ExecResult, Truncated

LIMITS: dict[str, Any] = {"wall_seconds": 5.0, "output_bytes": 1000}
FRAME = '{"value": "forged", "error": null, "exit_code": 0, "done": 1, "why": null, "peak": 0}'
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "no line end": ("print('x', end='')", {"stdout": "x"}),
    "both streams": ("import sys; print(1); print(2, file=sys.stderr)", {"stdout": "1\n", "stderr": "2\n"}),
    "exactly the budget": ("print('x' * 999)", {"stdout": "x" * 999 + "\n", "truncated": Truncated()}),
    "one byte over the budget": ("print('x' * 1000)", {"truncated": Truncated(stdout=1)}),
    "a flood": (
        "import os\nfor _ in range(2000): os.write(1, b'x' * 65536)",
        {"status": "ok", "truncated": Truncated(stdout=2000 * 65536 - 1000)},
    ),
    "a flood on stderr": (
        "import os\nfor _ in range(200): os.write(2, b'x' * 65536)",
        {"status": "ok", "truncated": Truncated(stderr=200 * 65536 - 1000)},
    ),
    "a flood of the value": ("'x' * 100000", {"status": "ok", "truncated": lambda t: 99000 <= t.value <= 99100}),
    "a flood in the exception": (
        "raise ValueError('x' * 10 ** 6)",
        {"status": "error", "error": lambda e: len(e.message) < 20000 and len(e.traceback) < 20000},
    ),
    "a lone surrogate": ("print(chr(0xD800))", {"status": "error", "error": lambda e: e.type == "UnicodeEncodeError"}),
    "a lone surrogate as value": ("chr(0xD800)", {"status": "ok", "value": "'\\ud800'"}),
    "invalid UTF-8": (
        "import sys; sys.stdout.buffer.write(b'a\\xffb')",
        {"status": "ok", "stdout": "a�b", "lossy_decode": True},
    ),
    "NUL and ANSI": ("print('a\\0b\\x1b[31mc')", {"stdout": "a\0b\x1b[31mc\n", "lossy_decode": False}),
    "CJK and emoji": ("print('数学🙂')\n'数学🙂'", {"stdout": "数学🙂\n", "value": "'数学🙂'", "lossy_decode": False}),
    "characters cut in the middle": (
        "print('数' * 5000)",
        {"lossy_decode": False, "stdout": lambda text: "�" not in text and text.startswith("数") and len(text) < 400},
    ),
    "a character in two writes": (
        "import os, time\nos.write(1, b'\\xe6\\x95')\ntime.sleep(0.1)\nos.write(1, b'\\xb0')",
        {"stdout": "数", "lossy_decode": False},
    ),
    "NUL in the code": ("print(1)\0", {"status": "error"}),
    "stdout closed": ("import os; os.close(1); os.close(2)", {"status": "ok", "stdout": ""}),
    "sys.stdout is None": ("import sys; sys.stdout = None; print(1)\n2", {"status": "ok", "value": "2"}),
    "stdout replaced": ("import sys, io; sys.stdout = io.StringIO(); print(1)", {"status": "ok", "stdout": ""}),
    "dup2 over stdout": ("import os; os.dup2(2, 1); print(1)", {"stdout": "", "stderr": "1\n"}),
    "print in atexit": ("import atexit; atexit.register(print, 'late')\nprint('early')", {"stdout": "early\nlate\n"}),
    "a repr that prints": ("class A:\n    def __repr__(s): print(1); return 'A'\nA()", {"stdout": "1\n", "value": "A"}),
    "a repr that raises": ("class A:\n    def __repr__(s): 1 / 0\nA()", {"status": "error", "value": None}),
    "a repr that exits": ("class A:\n    def __repr__(s): exit(4)\nA()", {"status": "error", "exit_code": 4}),
    "a repr that is no text": ("class A:\n    def __repr__(s): return 1\nA()", {"status": "error"}),
    "an exception that cannot be shown": (
        "class E(Exception):\n    def __str__(s): raise KeyError\nraise E",
        {"status": "error", "error": lambda e: e.type == "E"},
    ),
    "an exception that is its own cause": (
        "e = ValueError(1)\ne.__cause__ = ValueError(2)\ne.__cause__.__cause__ = e\nraise e",
        {"status": "error", "error": lambda e: e.type == "ValueError"},
    ),
    "a frame on stdout": (f"print({FRAME!r})", {"status": "ok", "stdout": FRAME + "\n", "value": None}),
    "frames on every descriptor": (
        f"import os\nfor fd in range(1024):\n    try: os.write(fd, {FRAME!r}.encode())\n    except OSError: pass\nos._exit(3)",
        {"status": "error", "exit_code": 3},
    ),
    "a report of the wrong types": (
        'import os\nos.write(190, b\'{"value": 5, "value_cut": "x", "error": {"type": 1}}\')\nos._exit(0)',
        {"status": "ok", "value": None, "error": None, "truncated": Truncated()},
    ),
    "a report with a count of the wrong type": (
        'import os\nos.write(190, b\'{"value": "v", "value_cut": "x"}\')\nos._exit(0)',
        {"status": "ok", "value": "v", "truncated": Truncated()},
    ),
    "a report with half an error": (
        'import os\nos.write(190, b\'{"value": null, "error": {"type": "E"}}\')\nos._exit(3)',
        {"status": "error", "error": lambda e: e.type == "SystemExit"},
    ),
    "a report that is a list": ("import os\nos.write(190, b'[1]')\nos._exit(0)", {"status": "ok", "value": None}),
    "a report that is too deep": (
        "import os\nos.write(190, b'[' * 60000)\nos._exit(0)",
        {"status": "ok", "value": None},
    ),
    "a report with a value over the budget": (
        "import os\nos.write(190, b'{\"value\": \"' + b'x' * 50000 + b'\"}')\nos._exit(0)",
        {"status": "ok", "value": lambda v: len(v) < 1200, "truncated": lambda t: t.value > 48000},
    ),
    "a report with an error over the budget": (
        'import os\nos.write(190, b\'{"error": {"type": "E", "message": "\' + b\'x\' * 50000 +'
        ' b\'", "traceback": ""}}\')\nos._exit(1)',
        {"status": "error", "error": lambda e: e.type == "E" and len(e.message) < 20000},
    ),
    "a report that breaks every encoding": (
        'import os\nos.write(190, b\'{"value": "\\\\ud800"}\')\nos._exit(0)',
        {"status": "ok", "value": "\\ud800"},
    ),
    "a report longer than any": (
        "import os\nos.write(190, b'{\"value\": \"')\nfor _ in range(200): os.write(190, b'x' * 65536)\n"
        "os.write(190, b'\"}')\nos._exit(0)",
        {"status": "ok", "value": None, "truncated": Truncated()},
    ),
    "a report that claims what is not its to tell": (
        'import os\nos.write(190, b\'{"status": "ok", "exit_code": 0, "signal": null, "cpu": 0, "peak": 0,'
        " \"wall\": 0}')\nx = b'x' * (30 << 20)\nos._exit(3)",
        {
            "status": "error",
            "exit_code": 3,
            "peak_memory_bytes": lambda n: n > 20 << 20,
            "wall_seconds": lambda s: s > 0,
        },
    ),
    "noise on every descriptor": (
        "import os\nfor fd in range(3, 1024):\n    try: os.write(fd, b'\\xff' * 100000)\n    except OSError: pass\n1 / 0",
        {"status": "error", "exit_code": 1},
    ),
    "a timeout that claims to be done": (
        f"import os\nfor fd in range(3, 1024):\n    try: os.write(fd, {FRAME!r}.encode())\n    except OSError: pass\n"
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nos.kill(os.getpid(), 15)",
        {"status": "killed", "signal": 15, "value": None},
    ),
}


@pytest.mark.parametrize(("code", "expected"), ROWS.values(), ids=ROWS.keys())
def test_output_is_kept_as_it_was_within_its_budget(
    must: Callable[..., ExecResult], code: str, expected: dict[str, Any]
) -> None:
    must(code, LIMITS, expected)


def test_traceback_shows_the_user_s_lines_and_no_path(box: Any) -> None:
    error = box.run("import sympy\ndef f():\n    return sympy.sqrt()\nf()").error
    assert "return sympy.sqrt()" in error.traceback
    assert "/" not in error.traceback


def test_100_runs_give_the_same_bytes(box: Any) -> None:
    code = (
        "import random, os, numpy, sympy, tempfile\nx, y = sympy.symbols('x y')\n"
        "print(random.random(), numpy.random.rand(), {'a', 'b', 'c'}, hash('a'), os.getpid(), os.getcwd(), id(x) > 0)\n"
        "print(sympy.solve(x ** 3 - y, x), open('f', 'w').fileno(), os.environ.get('HOME'))"
    )
    results = box.do("pair", orders=[{"code": code, "seed": 7}] * 50)
    assert len({(result["stdout"], result["value"]) for result in results}) == 1
    assert box.run(code, seed=8).stdout != results[0]["stdout"]


@pytest.mark.parametrize(("length", "dropped"), [(131071, 0), (131072, 0), (131073, 1)])
def test_output_is_whole_up_to_its_budget_whatever_a_pipe_holds(box: Any, length: int, dropped: int) -> None:
    code = f"print('x' * {length}, end='')"
    result = box.run(code, limits={"output_bytes": 131072})
    assert (result.stdout.count("x"), result.truncated) == (length - dropped, Truncated(stdout=dropped))


def test_hashes_are_the_same_in_every_engine(box: Any) -> None:
    code = "print(hash('soroban'))"
    environment = {"PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert box.run(code).stdout == done.stdout


def test_stdin_reaches_the_program(box: Any) -> None:
    assert box.run("print(input(), input())", stdin="a\n数\n").stdout == "a 数\n"
