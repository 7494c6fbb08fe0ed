"""Which zygote a program is forked from, and that each kind has what it is there for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.engine import Engine, memory
from sandbox.engine.libraries import Kinds
from sandbox.errors import InputError
from sandbox.types import ExecRequest
from tests.processes import descendants
from tests.sandbox.engine.test_engine import started

HAS_SCIPY = "import sys\nhas = 'scipy.optimize' in sys.modules\nfrom scipy.optimize import brentq\nhas"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("print(6 * 7)", "bare"),
        ("import math, json", "bare"),
        ("from sympy import *", "warm"),
        ("import math, numpy as np", "warm"),
        ("x = 1; import sympy", "warm"),
        ("exec('import sympy')", "warm"),
        ("import scipy", "scipy"),
        ("def f():\n    from scipy.optimize import minimize", "scipy"),
        ("import numpy as np; import scipy.special", "scipy"),
        ("# no scipy here\nimport sympy", "warm"),
        ("import pandas as pd, matplotlib.pyplot as plt", "matplotlib+pandas"),
        ("from networkx import Graph  # and numpy", "networkx"),
    ],
)
def test_a_program_is_given_the_zygote_that_has_what_it_imports(code: str, kind: str) -> None:
    assert Kinds(("numpy", "sympy")).of(code) == kind


def maps(pid: int) -> str:
    with contextlib.suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/maps").read_text()
    return ""


async def has_scipy(engine: Engine) -> bool:
    result = await engine.run(ExecRequest(code=HAS_SCIPY))
    assert result.ok, result
    return result.value == "True"


async def comes_to_have_scipy(engine: Engine) -> bool:
    async with asyncio.timeout(60.0):
        while not await has_scipy(engine):
            await asyncio.sleep(0.1)
    return True


def test_scipy_is_loaded_once_it_is_asked_for_and_stays_out_of_other_programs() -> None:
    async def run() -> None:
        async with started(preload=("numpy",)) as engine:
            assert (await engine.run(ExecRequest(code="import numpy, sys\n'scipy' in sys.modules"))).value == "False"
            assert not await has_scipy(engine), "nobody has asked before"
            assert await comes_to_have_scipy(engine)
            assert (await engine.run(ExecRequest(code="import numpy, sys\n'scipy' in sys.modules"))).value == "False"

    asyncio.run(run())


def test_scipy_is_as_others_where_nothing_is_preloaded() -> None:
    async def run() -> None:
        async with started(preload=()) as engine:
            for _ in range(2):
                assert not await has_scipy(engine)
                await asyncio.sleep(0.2)

    asyncio.run(run())


def test_programs_run_while_all_that_have_scipy_are_killed() -> None:
    """Its mother, its zygote and what waits there for a program: each is replaced when it is asked for again."""

    async def run() -> None:
        async with started(preload=("numpy",)) as engine:
            assert await comes_to_have_scipy(engine)
            launcher = engine._pool._process.pid  # type: ignore[union-attr]
            async with asyncio.timeout(10.0):
                while len(having := [pid for pid in descendants(launcher) if "scipy/optimize" in maps(pid)]) < 3:
                    await asyncio.sleep(0.02)
            for pid in having:
                with contextlib.suppress(ProcessLookupError):  # it has ended with the one before
                    os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(10.0):
                while engine.status().zygote_restarts < 2:
                    await asyncio.sleep(0.02)
            assert not await has_scipy(engine), "it is imported, and its mother made anew"
            assert await comes_to_have_scipy(engine)

    asyncio.run(run())


def test_a_settled_heap_has_no_holes() -> None:
    """What is made after `settle` lies side by side: a fork copies few pages for it."""
    program = (
        "import json, random\n"
        "from sandbox.guest import heap\n"
        "random.seed(0)\n"
        "kept = [bytes(random.randrange(1, 480)) for _ in range(20_000)]\n"
        "del kept[::3]\n"
        "if __import__('sys').argv[1] == 'settle': heap.settle()\n"
        "made = [bytes(size - 33) for size in range(48, 513, 16) for _ in range(4)]\n"
        "places = [id(block) for block in made]\n"
        "print(sum(b - a == size for i, size in enumerate(range(48, 513, 16))"
        " for a, b in zip(places[4 * i : 4 * i + 3], places[4 * i + 1 : 4 * i + 4])))"
    )
    side_by_side = {
        how: int(subprocess.check_output([sys.executable, "-c", program, how], text=True)) for how in ("settle", "not")
    }
    assert side_by_side["settle"] >= 80, "of 90"
    assert side_by_side["not"] < 45


def loads(library: str) -> str:
    """A program whose value is whether `library` was there before it was imported."""
    return f"import sys\nhas = {library!r} in sys.modules\nimport {library}\nhas"


async def comes_to_have(engine: Engine, library: str) -> None:
    async with asyncio.timeout(60.0):
        while (result := await engine.run(ExecRequest(code=loads(library)))).value != "True":
            assert result.ok, result
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("library", ["pandas", "networkx"])
def test_a_library_is_loaded_once_it_is_asked_for(library: str) -> None:
    pytest.importorskip(library)

    async def run() -> None:
        async with started(preload=("numpy",)) as engine:
            await comes_to_have(engine, library)
            result = await engine.run(ExecRequest(code=f"import numpy, sys\n{library!r} in sys.modules"))
            assert result.value == "False", "it stays out of other programs"

    asyncio.run(run())


def test_what_preload_names_is_loaded_when_first_asked_for() -> None:
    async def run() -> None:
        async with started(preload=("jinja2",)) as engine:
            await comes_to_have(engine, "jinja2")

    pytest.importorskip("jinja2")
    asyncio.run(run())


def test_what_cannot_be_loaded_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="no_such_library"):
        Kinds(("numpy", "no_such_library"))


def test_a_figure_is_drawn_by_a_program_that_finds_matplotlib_loaded() -> None:
    """A font is an open file: one that was opened before the fork cannot be read after it."""
    pytest.importorskip("matplotlib")
    code = (
        "import sys\nhas = 'matplotlib.pyplot' in sys.modules\nimport matplotlib.pyplot as plt\n"
        "plt.plot([1, 2], label='$x^2$')\nplt.title('t')\nplt.legend()\nplt.savefig('figure.png')\nhas"
    )

    async def run() -> None:
        async with started(preload=("numpy",)) as engine, asyncio.timeout(60.0):
            while True:
                result = await engine.run(ExecRequest(code=code, fetch=("figure.png",)))
                assert (result.ok, result.stderr) == (True, ""), result
                assert result.files["figure.png"].startswith(b"\x89PNG")
                if result.value == "True":
                    return
                await asyncio.sleep(0.1)

    asyncio.run(run())


def test_the_kind_used_least_lately_ends_when_memory_is_short_and_its_programs_run_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        async with started(preload=("numpy", "jinja2")) as engine:
            assert await comes_to_have_scipy(engine)
            await comes_to_have(engine, "jinja2")
            launcher = engine._pool._process.pid  # type: ignore[union-attr]
            monkeypatch.setattr("sandbox.engine.memory.is_short", lambda: True)
            slow = "import sys, time\nhas = 'scipy' in sys.modules\nimport scipy\ntime.sleep(3)\nhas"
            running = asyncio.create_task(engine.run(ExecRequest(code=slow)))
            async with asyncio.timeout(10.0):
                while not engine._pool._leaving:  # type: ignore[union-attr]
                    await asyncio.sleep(0.05)
            assert (await running).value == "True", "it was not ended with its kind"
            async with asyncio.timeout(10.0):
                while [pid for pid in descendants(launcher) if "scipy/optimize" in maps(pid)]:
                    await asyncio.sleep(0.05)
            assert not await has_scipy(engine)
            await asyncio.sleep(0.5)
            assert not await has_scipy(engine), "no new one is made while memory is short"
            assert engine.status().zygote_restarts == 0
            monkeypatch.setattr("sandbox.engine.memory.is_short", lambda: False)
            assert await comes_to_have_scipy(engine)

    pytest.importorskip("jinja2")
    asyncio.run(run())


def test_memory_is_short_when_little_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory._budgets(), "something can be read here"
    for left, total, short in ((900 << 20, 24 << 30, True), (2 << 30, 24 << 30, False), (300 << 20, 2 << 30, False)):
        monkeypatch.setattr(memory, "_budgets", lambda left=left, total=total: [(left, total)])
        assert memory.is_short() is short
