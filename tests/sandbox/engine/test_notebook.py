"""Cells as models write them: what docs/notebook.md says of each, and what the table has no room for."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Limits, Sandbox, Session
from sandbox.engine.results import figures_drawn, read_report
from sandbox.guest.cells import to_python

ROOT = Path(__file__).parents[3]
BENCH = runpy.run_path(str(ROOT / "bench" / "notebook.py"))
ROWS = BENCH["rows"]((ROOT / "docs" / "notebook.md").read_text(encoding="utf-8"))
CASES = ROOT.parent / "shared" / "data" / "cases" / "cases.jsonl"
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture
def session(sandbox: Sandbox) -> Iterator[Session]:
    with sandbox.session() as session:
        yield session


def test_the_table_has_what_models_use_most() -> None:
    assert len(ROWS) >= 40
    assert len({row.what for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_cell_does_what_the_table_says(sandbox: Sandbox, row: Any) -> None:
    for library in ("gmpy2", "matplotlib", "pandas"):
        if f"import {library}" in row.cells[0]:
            pytest.importorskip(library)
    shown = BENCH["run_here"](sandbox, row.cells)
    assert BENCH["fits"](row.here, shown), f"{shown!r} is not {row.here!r}"


@pytest.mark.skipif(not CASES.is_file(), reason="needs ../shared/data/cases/cases.jsonl")
def test_the_cases_of_public_reports_run(sandbox: Sandbox) -> None:
    """Their last cells end well, and show what is expected of them."""
    rows = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["area"] == "sandbox"]
    assert rows
    for row in rows:
        if row.get("mode") == "script":
            result = sandbox.run(row["cells"][0], mode="script")
        else:
            with sandbox.session() as session:
                result = [session.run(code) for code in row["cells"]][-1]
        assert result.ok, (row, result)
        expected = row["expected"].removeprefix("value ").split(":")[0].split("…")[0].split(" of the")[0]
        shown = (result.value or "") + result.stdout
        if expected[:1] in "0123456789[":
            assert shown.startswith(expected), (row, result)
        else:
            assert shown, (row, result)


# -- what the table has no room for ------------------------------------------------------------------------------------


def test_what_python_takes_is_left_alone(session: Session) -> None:
    code = 'x = (7\n%4)\nt = """\n%time\n!ls\nlen?\n"""\n(x, t)'
    assert session.run(code).value == r"(3, '\n%time\n!ls\nlen?\n')"


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1;\n# a comment", None),
        ("(1);", None),
        ("'π;'", "'π;'"),
        ("'π'; ", None),
        ("x = 1; x  # ;", "1"),
    ],
)
def test_a_semicolon_hushes_only_at_the_end(session: Session, code: str, value: str | None) -> None:
    assert session.run(code).value == value


@pytest.mark.parametrize("mode", ["notebook", "script"])
def test_a_program_is_read_as_a_cell_is(sandbox: Sandbox, mode: Any) -> None:
    code = "%matplotlib inline\nimport asyncio\nawait asyncio.sleep(0)\n!pip install x\nprint(6 * 7)"
    result = sandbox.run(code, mode=mode)
    assert (result.ok, result.stdout) == (True, "42\n"), result


def test_a_script_has_its_file_and_no_names_of_a_notebook(sandbox: Sandbox) -> None:
    result = sandbox.run("print('_' in dir(), 'In' in dir(), open(__file__).read()[:9])", mode="script")
    assert result.stdout == "False False print('_'\n", result
    other = sandbox.run("print(open('program.py').read(), __file__)", mode="script", files={"program.py": b"mine"})
    assert other.stdout.startswith("mine "), other


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("%matplotlib inline\n\nx = 1 / 0", 3),
        ("%%time\nx = 1\nx / 0", 3),
        ("\n%time 1 / 0", 2),
        ("import asyncio\nawait asyncio.sleep(0)\n1 / 0", 3),
        ("    x = 1\n    x / 0", 2),
    ],
)
def test_a_traceback_points_to_the_cell_s_own_line(session: Session, code: str, line: int) -> None:
    error = session.run(code).error
    assert error is not None
    assert error.type == "ZeroDivisionError", error
    assert f", line {line}" in error.traceback, error.traceback
    assert "sandbox" not in error.traceback


def test_an_await_leaves_nothing_that_keeps_a_session_from_being_forked(session: Session) -> None:
    session.run(
        "import asyncio\nq = asyncio.Queue()\nawait q.put(5)\nasync def later(): await asyncio.sleep(0); return 8"
    )
    session.run("t = asyncio.create_task(later())")
    with session.fork() as branch:
        assert branch.run("await q.get(), await t").value == "(5, 8)"
    assert session.run("await asyncio.wait_for(q.get(), 5), await t").value == "(5, 8)"


def test_an_await_that_never_ends_is_a_timeout(sandbox: Sandbox) -> None:
    result = sandbox.run("import asyncio\nawait asyncio.sleep(100)", limits=Limits(wall_seconds=1.0))
    assert result.status == "timeout"


def test_libraries_are_told_of_no_shell(sandbox: Sandbox) -> None:
    code = (
        "import IPython, sympy\nsympy.init_printing()\nother = {'__name__': 'library'}\n"
        "exec('import IPython; found = IPython.get_ipython()', other)\n"
        "other['found'], IPython.get_ipython() is get_ipython()"
    )
    assert sandbox.run(code).value == "(None, True)"


PLOT = "import matplotlib.pyplot as plt\nfor n in range(3):\n    plt.plot([1, n])\n    plt.show()\n"


def test_figures_come_back_on_request(session: Session) -> None:
    pytest.importorskip("matplotlib")
    silent = session.run(PLOT)
    assert (silent.figures_shown, dict(silent.files), silent.stderr) == (3, {}, "")
    drawn = session.run(PLOT + "plt.plot([5])\nopen('mine', 'w').close()", fetch_figures=True, fetch=("mine",))
    assert drawn.figures_shown == 4, "the one that is open at the end, too"
    assert sorted(drawn.files) == ["figure-1.png", "figure-2.png", "figure-3.png", "figure-4.png", "mine"]
    assert all(content.startswith(PNG) for name, content in drawn.files.items() if name != "mine")
    more = session.run("import os; os.chdir('/tmp')\ndisplay(plt.figure())\n1 / 0", fetch_figures=True)
    assert more.error is not None
    assert sorted(more.files) == ["figure-5.png", "figure-6.png"], "displayed, and shown when the cell ended"
    assert session.run("plt.get_fignums()").value == "[]"


def test_a_script_s_figures_stay_open_and_one_that_cannot_be_drawn_ends_nothing(sandbox: Sandbox) -> None:
    pytest.importorskip("matplotlib")
    code = (
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.title('$x^$')\nplt.show()\n"
        "print(plt.get_fignums())"
    )
    result = sandbox.run(code, mode="script", fetch_figures=True)
    assert (result.ok, result.stdout, result.figures_shown) == (True, "[1]\n", 1), result
    assert result.stderr.startswith("figure-1.png could not be drawn: ValueError"), result


@pytest.mark.parametrize(
    "claim",
    [
        b"", b"[]", b"{}", b"null", b'{"figure_files": null}', b'{"figure_files": 5}', b'{"figure_files": {"a": 1}}',
        b'{"figure_files": ["../figure-1.png", "figure-1.png/../x", "a.png", "figure-1.png\\u0000"]}',
        b'{"figure_files": [5, null, [[]]]}',
    ],
)  # fmt: skip
def test_only_names_of_figures_are_believed(claim: bytes) -> None:
    assert figures_drawn(claim) == ()


def test_no_more_figures_are_fetched_than_can_have_been_drawn() -> None:
    names = [f"figure-{number}.png" for number in range(1000)]
    assert len(figures_drawn(json.dumps({"figure_files": names}).encode())) == 20
    for lie in (-1, True, 1 << 60, "3", None, 1.5):
        assert read_report(json.dumps({"figures": lie}).encode(), 100)["figures"] == 0


@pytest.mark.parametrize(
    ("cell", "python"),
    [
        ("%time f('it''s')", "get_ipython().run_line_magic('time', \"f('it''s')\")"),
        ("x = %time f()", "x = get_ipython().run_line_magic('time', 'f()')"),
        ("a, b = !ls", "a, b = get_ipython().getoutput('ls')"),
        ('if x:\n    !echo "it\'s"\ny', "if x:\n    get_ipython().system('echo \"it\\'s\"')\ny"),
        ("!ls \\\n -l\ny", "get_ipython().system('ls   -l')\n\ny"),
        ("f(1,\n%time\n)\n%pwd", "f(1,\n%time\n)\nget_ipython().run_line_magic('pwd', '')"),
        ("'''\n%a\n''' # '''\n%pwd", "'''\n%a\n''' # '''\nget_ipython().run_line_magic('pwd', '')"),
        ("In [1]: x = 1\n   ...: y = 2", "x = 1\ny = 2"),
        ("# what for\n%%time\nf()", "\nget_ipython().run_cell_magic('time', '', 'f()\\n')"),
        ("np.array??", "get_ipython().run_line_magic('pinfo2', 'np.array')"),
        ("x = = 1", "x = = 1"),
        ("'never ends\n%pwd", "'never ends\nget_ipython().run_line_magic('pwd', '')"),
    ],
)
def test_a_cell_becomes_python_line_by_line(cell: str, python: str) -> None:
    assert to_python(cell) == python
