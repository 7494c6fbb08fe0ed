"""What IPython's magic commands do here: `run_line` for `%name …`, `run_cell` for `%%name …` and the lines below it.

docs/notebook.md has the table. Those that set up a notebook do nothing; those that would run a command of the system
say in one sentence that there is none, and the cell goes on. An unknown one is a `UsageError`, as in IPython.
"""

from __future__ import annotations

import io
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.guest.notebook import Notebook


class UsageError(Exception):
    """A magic command that is not to be had, or not so."""


_WHY = "there is no shell and no network here; what is installed can be imported"


def refuse(command: str) -> None:
    """Say what became of a command of the system: one sentence, beside the output."""
    print(f"{command} was not run: {_WHY}.", file=sys.stderr)


def run_line(notebook: Notebook, name: str, line: str) -> object:
    if name in _NOTHING:
        return None
    if name in _COMMANDS:
        refuse(f"%{name}")
        return None
    if (magic := _LINE.get(name)) is None:
        raise UsageError(f"Line magic function `%{name}` not found.")
    return magic(notebook, line)


def run_cell(notebook: Notebook, name: str, line: str, cell: str) -> object:
    if name in _COMMANDS or name.startswith("!"):
        refuse(f"%%{name}")
        return None
    if name in _SHOWN:
        print(cell.rstrip("\n"))
        return None
    if (magic := _CELL.get(name)) is None:
        raise UsageError(f"Cell magic `%%{name}` not found.")
    return magic(notebook, line, cell)


# -- time --------------------------------------------------------------------------------------------------------------


def _time(notebook: Notebook, line: str, cell: str = "") -> object:
    if line and cell:
        raise UsageError("Can't use statement directly after '%%time'!")
    source, below = (cell, 1) if cell else (line, 0)
    began, before = time.time(), resource.getrusage(resource.RUSAGE_SELF)
    try:
        return notebook.run_source(source, _above(notebook) + below)
    finally:
        wall, after = time.time() - began, resource.getrusage(resource.RUSAGE_SELF)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        print(f"CPU times: user {seconds(user)}, sys: {seconds(system)}, total: {seconds(user + system)}")
        print(f"Wall time: {seconds(wall)}")


_ENOUGH_SECONDS = 0.02  # of one run, where IPython takes 0.2: a program's time is short here


class TimeitResult:
    """What `%timeit -o` gives."""

    def __init__(self, loops: int, repeat: int, runs: list[float]) -> None:
        self.loops, self.repeat, self.all_runs = loops, repeat, runs
        self.timings = [run / loops for run in runs]
        self.best, self.worst = min(self.timings), max(self.timings)
        self.average = sum(self.timings) / repeat
        self.stdev = math.sqrt(sum((timing - self.average) ** 2 for timing in self.timings) / repeat)

    def __str__(self) -> str:
        runs, loops = ("s" if count != 1 else "" for count in (self.repeat, self.loops))
        return (
            f"{seconds(self.average)} ± {seconds(self.stdev)} per loop "
            f"(mean ± std. dev. of {self.repeat} run{runs}, {self.loops:,} loop{loops} each)"
        )

    def __repr__(self) -> str:
        return f"<TimeitResult : {self}>"


def _timeit(notebook: Notebook, line: str, cell: str | None = None) -> TimeitResult | None:
    import timeit

    options, rest = _options(line, "nrp", "qotcv")
    statement, setup = (cell, rest or "pass") if cell is not None else (rest, "pass")
    if not statement.strip():
        return None
    timer = timeit.Timer(statement, setup, globals=notebook.user_ns)
    loops, repeat = int(options.get("n") or 0), int(options.get("r") or 7)
    if loops < 1:
        loops = 1
        while timer.timeit(loops) < _ENOUGH_SECONDS and loops < 10**9:
            loops *= 10
    result = TimeitResult(loops, repeat, timer.repeat(repeat, loops))
    if "q" not in options:
        print(result)
    return result if "o" in options else None


def _prun(notebook: Notebook, line: str, cell: str = "") -> None:
    import cProfile
    import pstats

    _, statement = _options(line, "lsTD", "rq")
    profile = cProfile.Profile()
    try:
        profile.runcall(notebook.run_source, cell or statement, _above(notebook))
    finally:
        pstats.Stats(profile, stream=sys.stdout).sort_stats("time").print_stats(20)


def seconds(span: float) -> str:
    """A time with its unit, to three digits, as IPython writes it."""
    if span >= 60.0:
        minutes, rest = divmod(int(span), 60)
        hours, minutes = divmod(minutes, 60)
        return " ".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if count)
    step = min(-int(math.floor(math.log10(span)) // 3), 3) if span > 0 else 3
    return f"{span * 1000**step:.3g} {('s', 'ms', 'μs', 'ns')[step]}"


# -- names and files ---------------------------------------------------------------------------------------------------


def _mine(notebook: Notebook) -> list[str]:
    """The names that the user has given, sorted."""
    ours = {"In", "Out", "get_ipython", "quit", "exit"}
    return sorted(name for name in notebook.user_ns if not name.startswith("_") and name not in ours)


def _who(notebook: Notebook, line: str) -> None:
    kinds = line.split()
    found = [name for name in _mine(notebook) if not kinds or type(notebook.user_ns[name]).__name__ in kinds]
    print("\t ".join(found) if found else "Interactive namespace is empty.")


def _whos(notebook: Notebook, _: str) -> None:
    values = {name: notebook.user_ns[name] for name in _mine(notebook)}
    rows = [(name, type(value).__name__, _brief(value)) for name, value in values.items()]
    if not rows:
        print("Interactive namespace is empty.")
        return
    widths = [max(map(len, column)) + 3 for column in zip(("Variable", "Type", ""), *rows, strict=True)]
    print(f"{'Variable':{widths[0]}}{'Type':{widths[1]}} Data/Info")
    print("-" * (widths[0] + widths[1] + len(" Data/Info")))
    for name, kind, text in rows:
        print(f"{name:{widths[0]}}{kind:{widths[1]}} {text}")


def _brief(value: Any) -> str:
    kind = type(value).__name__
    if kind in ("dict", "list", "tuple"):
        return f"n={len(value)}"
    if kind in ("DataFrame", "Series"):
        return f"Shape: {value.shape}"
    if kind == "ndarray":
        shape = "x".join(map(str, value.shape))
        return f"{shape}: {value.size} elems, type `{value.dtype}`, {value.nbytes} bytes"
    text = str(value).replace("\n", "\\n")
    return text if len(text) < 50 else f"{text[:25]}<...>{text[-25:]}"


def _reset(notebook: Notebook, _: str) -> None:
    for name in _mine(notebook):
        del notebook.user_ns[name]


def _cd(_: Notebook, line: str) -> None:
    options, path = _options(line, "", "q")
    os.chdir(os.path.expanduser(path.strip("'\"") or "~"))
    if "q" not in options:
        print(os.getcwd())


def _ls(_: Notebook, line: str) -> None:
    folder = next((word for word in line.split() if not word.startswith("-")), ".")
    print("  ".join(name for name in sorted(os.listdir(folder)) if not name.startswith(".")))


def _env(_: Notebook, line: str) -> object:
    name, sign, value = (part.strip() for part in line.replace(" ", "=", "=" not in line).partition("="))
    if not name:
        return dict(os.environ)
    if not sign:
        return os.environ[name]
    os.environ[name] = value
    print(f"env: {name}={value}")
    return None


def _run(notebook: Notebook, line: str) -> None:
    path, *arguments = _options(line, "mtNp", "ineGTd")[1].split() or [""]
    if not os.path.isfile(path):
        raise UsageError(f"File `{path!r}` not found.")
    argv, name = sys.argv, notebook.user_ns.get("__name__")
    names = {"__name__": "__main__", "__file__": path, "get_ipython": notebook.user_ns.get("get_ipython")}
    sys.argv = [path, *arguments]
    try:
        with open(path, encoding="utf-8") as file:
            code = file.read()
        exec(compile(code, os.path.abspath(path), "exec", dont_inherit=True), names)
    finally:
        sys.argv = argv
        notebook.user_ns |= {key: value for key, value in names.items() if key not in ("__file__", "__builtins__")}
        notebook.user_ns["__name__"] = name


def _writefile(_: Notebook, line: str, cell: str) -> None:
    options, path = _options(line, "", "a")
    path = os.path.expanduser(path.strip("'\""))
    verb = ("Appending to" if "a" in options else "Overwriting") if os.path.exists(path) else "Writing"
    with open(path, "a" if "a" in options else "w", encoding="utf-8") as file:
        file.write(cell)
    print(verb, path)


def _pylab(notebook: Notebook, _: str) -> None:
    notebook.run_source(
        "import numpy, matplotlib\nfrom matplotlib import pyplot, pylab\nnp, plt = numpy, pyplot\n"
        "from pylab import *\nfrom numpy import *"
    )


def _precision(notebook: Notebook, line: str) -> None:
    notebook.float_format = None if not line else line if "%" in line else f"%.{int(line)}f"
    if "numpy" in sys.modules:
        digits = "".join(letter for letter in line if letter.isdigit())
        sys.modules["numpy"].set_printoptions(precision=int(digits) if digits else 8)


# -- output and help ---------------------------------------------------------------------------------------------------


class CapturedIO:
    """What `%%capture NAME` puts into NAME."""

    def __init__(self, stdout: str, stderr: str) -> None:
        self.stdout, self.stderr, self.outputs = stdout, stderr, list[object]()

    def show(self) -> None:
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)

    __call__ = show

    def __str__(self) -> str:
        return self.stdout


def _capture(notebook: Notebook, line: str, cell: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            notebook.show(notebook.run_source(cell, _above(notebook) + 1))
    finally:
        if name := next((word for word in line.split() if not word.startswith("-")), ""):
            notebook.user_ns[name] = CapturedIO(out.getvalue(), err.getvalue())


def _pinfo(notebook: Notebook, name: str, source: bool = False) -> None:
    import inspect

    if not name or "*" in name or name.startswith("%"):
        print("An object is described by NAME? and its source shown by NAME??; magics are in the manual of IPython.")
        return
    try:
        value = eval(name, notebook.user_ns)
    except Exception:  # noqa: BLE001 - whatever it is, there is nothing to describe
        print(f"Object `{name}` not found.")
        return
    rows: list[tuple[str, str]] = []
    if callable(value):
        with suppress(TypeError, ValueError):
            rows.append(("Signature:", f"{name}{inspect.signature(value)}"))
    else:
        rows += [("Type:", type(value).__name__), ("String form:", str(value)[:200])]
    if source:
        with suppress(OSError, TypeError):
            rows.append(("Source:", "\n" + inspect.getsource(value)))
    if not any(label == "Source:" for label, _ in rows):
        rows.append(("Docstring:", inspect.getdoc(value) or "<no docstring>"))
    if callable(value):
        rows.append(("Type:", type(value).__name__))
    for label, text in rows:
        print(f"{label:<11}{text}")


def _history(notebook: Notebook, _: str) -> None:
    for source in notebook.user_ns["In"][1:]:
        print(source)


def _lsmagic(_: Notebook, __: str) -> None:
    print("Available line magics:\n" + "  ".join(f"%{name}" for name in sorted(_LINE)))
    print("Available cell magics:\n" + "  ".join(f"%%{name}" for name in sorted(_CELL)))


def _above(notebook: Notebook) -> int:
    """How many lines of the cell stand above the one that runs."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename != notebook.cell[0]:
        frame = frame.f_back  # type: ignore[assignment]
    return frame.f_lineno - 1 if frame is not None else 0


def _options(line: str, with_value: str, without: str) -> tuple[dict[str, str], str]:
    """The options at the beginning of a line, by their letters, and what follows them."""
    found: dict[str, str] = {}
    while line.startswith("-") and len(line) > 1 and line[1] in with_value + without:
        word, _, rest = line.partition(" ")
        letter, value, rest = word[1], word[2:], rest.lstrip()
        if letter in with_value and not value:
            value, _, rest = rest.partition(" ")
        elif letter in without:
            found |= dict.fromkeys(value, "")
            value = ""
        found[letter], line = value, rest.lstrip()
    return found, line


# They set up a page, an editor or a debugger, of which there is none.
_NOTHING = frozenset((
    "aimport", "alias", "autoawait", "autocall", "automagic", "autoreload", "autosave", "colors", "config", "debug",
    "doctest_mode", "edit", "gui", "load_ext", "logoff", "logon", "logstart", "logstop", "matplotlib", "notebook",
    "pdb", "pprint", "rehashx", "reload_ext", "store", "tb", "unload_ext", "xmode",
))  # fmt: skip
_COMMANDS = frozenset((
    "!!", "R", "bash", "cmd", "conda", "cython", "javascript", "js", "mamba", "micromamba", "perl", "pip", "pypy",
    "python", "python2", "python3", "ruby", "sc", "script", "sh", "sql", "sx", "system", "uv",
))  # fmt: skip
_SHOWN = frozenset({"html", "HTML", "latex", "markdown", "SVG", "svg"})
_LINE: dict[str, Callable[[Notebook, str], object]] = {
    "cd": _cd,
    "env": _env,
    "set_env": _env,
    "hist": _history,
    "history": _history,
    "ls": _ls,
    "lsmagic": _lsmagic,
    "pdoc": _pinfo,
    "pinfo": _pinfo,
    "pinfo2": lambda notebook, name: _pinfo(notebook, name, True),
    "precision": _precision,
    "prun": _prun,
    "psource": lambda notebook, name: _pinfo(notebook, name, True),
    "pwd": lambda _, __: os.getcwd(),
    "pylab": _pylab,
    "reset": _reset,
    "run": _run,
    "time": _time,
    "timeit": _timeit,
    "who": _who,
    "who_ls": lambda notebook, _: _mine(notebook),
    "whos": _whos,
}
_CELL: dict[str, Callable[[Notebook, str, str], object]] = {
    "capture": _capture,
    "file": _writefile,
    "prun": _prun,
    "time": _time,
    "timeit": _timeit,
    "writefile": _writefile,
}
