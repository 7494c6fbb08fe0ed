"""Runs one program, or the cells of a session, inside its jail; the last code of ours before the user's.

It shares its process with the user's code, so nothing it says is trusted: it writes a report on the program
(value, exception, exit code), and the parent believes of it only what concerns the program's own outcome. Limits,
times and signals are seen by the parent.

A program that is a script is Python's own business; a notebook's cell is read and run by `sandbox/guest/notebook.py`.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import linecache
import os
import random
import re
import signal
import socket
import sys
import threading
import traceback
import types
from json import dumps, loads  # by name: a session may put something else into the module
from typing import Any, NoReturn

from sandbox import cores, wire
from sandbox.guest import ipython
from sandbox.guest.figures import FIGURES
from sandbox.guest.notebook import Notebook
from sandbox.jail import linux, seccomp, tree
from sandbox.streams import cut_middle

UNREADY = 70  # the exit code of a process that could not begin its program
REPORT_FD, LINE_FD = 190, 191  # high, so that the user's own descriptors start at 3


class Program:
    """A namespace in which cells are run one after another; a program is one with a single cell."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.module.__dict__["__builtins__"] = __builtins__
        self.cells: list[str] = []
        self.notebook = Notebook(self.module.__dict__)
        self.script = False
        self.draw_into: str | None = None
        FIGURES.program = self
        sys.modules["__main__"] = self.module

    def run(self, code: str, mode: str, *, draw: bool = False) -> dict[str, Any]:
        """Run one cell; the report on it, JSON-ready: `value`, `error`, `exit_code` and `figures`.

        `draw`: what it shows with matplotlib is drawn into the files that `figure_files` names.
        """
        script = mode == "script"
        name = "program.py" if not self.cells and script else f"<cell {len(self.cells) + 1}>"
        self.cells.append(name)
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        report: dict[str, Any] = {"value": None, "error": None, "exit_code": 0}
        self.script, self.draw_into = script, os.getcwd() if draw else None
        if "matplotlib.pyplot" in sys.modules:  # here as below: what a fork does not touch, it need not copy
            FIGURES.begin()
        try:
            if script:
                self._run_script(code, name)
            else:
                report["value"] = self.notebook.run(code, name, show=True)
        except SystemExit as error:
            report["exit_code"], report["exit"] = _exit_code(error), True
            if report["exit_code"]:
                report["error"] = {"type": "SystemExit", "message": _text(error), "traceback": ""}
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is its outcome
            report["exit_code"] = 1
            report["error"] = describe(error, set(self.cells))
        if "matplotlib.pyplot" in sys.modules:
            FIGURES.end()
            report["figures"], report["figure_files"] = FIGURES.shown, FIGURES.files
        return report

    def _run_script(self, code: str, name: str) -> None:
        if name == "program.py":
            self.module.__dict__["__file__"] = f"{os.getcwd()}/{name}"
            if _ASKS_FOR_ITS_FILE.search(code):
                _write_program(name, code)
        try:
            compiled = compile(code, name, "exec", dont_inherit=True)
        except SyntaxError:
            compiled = None
        if "get_ipython" in code:
            self.module.__dict__["get_ipython"] = lambda: self.notebook
        if compiled is None:  # as a notebook's cell would be read, so that a program is one thing in both modes
            self.notebook.run(code, name, show=False)
        else:
            exec(compiled, self.module.__dict__)


# What reads a program's own file: multiprocessing imports it in each process that it starts anew.
_ASKS_FOR_ITS_FILE = re.compile(r"__file__|\bmultiprocessing\b|\bconcurrent\.futures\b|\bprogram\.py\b")


def _write_program(name: str, code: str) -> None:
    """Put a script where its `__file__` says it is, unless the request brought a file of that name."""
    with contextlib.suppress(OSError), open(name, "x", encoding="utf-8", errors="surrogatepass") as file:
        file.write(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    with contextlib.suppress(Exception):
        sys.stderr.write(f"{error.code}\n")
    return 1


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as inner:  # noqa: BLE001 - the user's __str__
        return f"<{type(inner).__name__} in __str__>"


def describe(error: BaseException, cells: set[str]) -> dict[str, str]:
    """Class name, message and traceback of the user's own frames: neither our frames nor a library's, no host path."""
    try:
        full = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _keep_frames(full, cells, set())
        text = "".join(full.format())
    except BaseException as inner:  # noqa: BLE001 - the user's __str__, __repr__ or __cause__
        text = f"{type(error).__name__}: <{type(inner).__name__} while the traceback was made>\n"
    return {"type": type(error).__name__, "message": _hide_places(_text(error)), "traceback": _hide_places(text)}


# Where libraries lie here; Python names the file in the message of a failed `from … import …`.
_PLACES = sorted((path + os.sep for path in sys.path if path.startswith(os.sep)), key=len, reverse=True)


def _hide_places(text: str) -> str:
    """The same text with files of libraries named as on every machine."""
    for place in _PLACES:
        text = text.replace(place, "")
    return text


def _keep_frames(error: traceback.TracebackException, cells: set[str], seen: set[int]) -> None:
    if id(error) in seen:
        return
    seen.add(id(error))
    work = os.getcwd() + os.sep
    kept = []
    for frame in error.stack:
        if frame.filename in cells:
            kept.append(frame)
        elif frame.filename.startswith(work):  # a module that was uploaded
            frame.filename = frame.filename.removeprefix(work)
            kept.append(frame)
    error.stack[:] = kept
    for inner in (error.__cause__, error.__context__, *(getattr(error, "exceptions", None) or ())):
        if inner is not None:
            _keep_frames(inner, cells, seen)


class Streams:
    """sys.stdin, stdout and stderr on descriptors 0, 1 and 2, made anew so that nothing is left in a buffer."""

    def __init__(self) -> None:
        sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")  # type: ignore[misc]
        self._out = [self._writer(1, "strict"), self._writer(2, "backslashreplace")]
        sys.stdout, sys.stderr = self._out
        sys.__stdout__, sys.__stderr__ = self._out  # type: ignore[misc]

    @staticmethod
    def _writer(descriptor: int, errors: str) -> io.TextIOWrapper:
        raw = io.FileIO(descriptor, "w", closefd=False)
        # By line: what a program printed before it hung or was killed must have left the process.
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors, newline="\n", line_buffering=True)

    def flush(self) -> None:
        """Write out what is buffered, in ours and in what the user put in their place."""
        for stream in (*self._out, sys.stdout, sys.stderr):
            # Closed, None or an object of the user's: then there is nothing to save.
            with contextlib.suppress(Exception):
                stream.flush()


def _seed(seed: int) -> None:
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)


def _write_files(files: dict[str, str]) -> dict[str, Any] | None:
    """Write the request's files; the report of a program that could not begin, if what is there leaves no room."""
    import base64

    try:
        for name, content in files.items():
            if os.path.dirname(name):
                os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "wb") as file:
                file.write(base64.b64decode(content))
    except OSError as error:
        described = {"type": "OSError", "message": f"files: {error}", "traceback": f"OSError: files: {error}\n"}
        return {"value": None, "error": described, "exit_code": 1}
    return None


def _write_report(descriptor: int, report: dict[str, Any], budget: int) -> None:
    """Cut the texts to the budget and write; the parent cuts again what does not keep to it."""
    if report["value"] is not None:
        value = report["value"].encode("utf-8", "backslashreplace")
        kept, report["value_cut"] = cut_middle(value, budget)
        report["value"] = kept.decode("utf-8", "replace")
    if report["error"] is not None:
        for name, text in report["error"].items():
            kept, _ = cut_middle(text.encode("utf-8", "backslashreplace"), min(budget, 16384))
            report["error"][name] = kept.decode("utf-8", "replace")
    data = memoryview(dumps(report).encode())
    while data:
        data = data[os.write(descriptor, data) :]


class Stage:
    """What every program finds and none has touched: made in the zygote, so that a fork need only step onto it."""

    def __init__(self) -> None:
        self.program = Program()
        ipython.install(self.program.notebook)
        sys.argv = ["program.py"]
        stdin, (reading, writing) = wire.file_of(b""), os.pipe()  # of the kinds that a program's will be
        own = [os.dup(number) for number in range(3)]
        for number, descriptor in enumerate((stdin, writing, writing)):
            os.dup2(descriptor, number)
        self.streams = Streams()
        for number, descriptor in enumerate(own):
            os.dup2(descriptor, number)
        for descriptor in (stdin, reading, writing, *own):
            os.close(descriptor)
        a, b = wire.pair()
        with a, b:
            os.dup2(a.fileno(), LINE_FD)
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, LINE_FD)
        atexit._clear()  # what libraries would do at the end; a program registers its own


# Of all that lives on a machine out of memory, what a program uses is to go first; one that waits for it, last.
_CHOSEN_FIRST = b"500"


def run_once(stage: Stage, oom_score: int) -> NoReturn:
    """Wait for a program, run it to its end as a Python process would, then end this process."""
    received = wire.receive(stage.line)
    if received is None:  # it was not needed
        os._exit(0)
    try:
        os.write(oom_score, _CHOSEN_FIRST)
        os.close(oom_score)
        cores.go_anywhere()
        request = _step_into(received[1])
        unwritten = _write_files(request["files"]) if request["files"] else None
        _seed(request["seed"])
        sys.path.insert(0, "")
    except BaseException as error:  # noqa: BLE001 - no user's code has begun: whatever it is, it is ours
        give_up(LINE_FD, error)
    stage.line.close()  # from here on nobody can say what only we may say
    report = unwritten or stage.program.run(request["code"], request["mode"], draw=request["figures"])
    _finish(stage.streams)
    with contextlib.suppress(OSError):  # the user closed it: the parent then knows the exit code only
        _write_report(REPORT_FD, report, request["output_bytes"])
    os._exit(report["exit_code"])


def give_up(line: int, error: BaseException) -> NoReturn:
    """Say why the program cannot begin and exit with `UNREADY`: that is our failure, not the program's (see `Slot`)."""
    os.write(line, dumps({"unready": f"{type(error).__name__}: {error}"[:1000]}).encode())
    os._exit(UNREADY)


def _step_into(descriptors: list[int]) -> dict[str, Any]:
    """Put stdin, stdout, stderr and report where they belong, and read the request; all of `descriptors` are closed."""
    payload, *files = descriptors
    for number, descriptor in zip((0, 1, 2, REPORT_FD), files, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    request: dict[str, Any] = loads(wire.content_of(payload))
    return request


def _finish(streams: Streams) -> None:
    """What the interpreter does at exit: wait for threads, run `atexit`, flush."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - SystemExit or worse from a user's exit function ends nothing
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    streams.flush()


def send_descriptor(line: int, asking: int) -> None:
    """Give the slot the descriptor on which a session's filter asks: its first word."""
    socket.send_fds(socket.socket(fileno=os.dup(line)), [b'{"asks": "session"}'], [asking])


def serve_session(stage: Stage, oom_score: int) -> NoReturn:
    """Run cells as they come on the line until it closes, a cell exits, or a limit ends this process."""
    os.write(oom_score, _CHOSEN_FIRST)
    os.close(oom_score)
    cores.go_anywhere()
    line = stage.line
    wire.send(line, {"ready": "session"})  # see `Slot`: what a user's code sends comes behind it
    sys.argv = ["session"]
    sys.path.insert(0, "")
    while (received := wire.receive(line)) is not None:
        message, descriptors = received
        linux.collect_forked_into()  # the inits of branches that have ended: they count among its processes
        if "fork" in message:
            branch_off(*descriptors)
            continue
        report = _run_cell(stage.program, descriptors)
        if report.get("exit"):
            os._exit(report["exit_code"])
        wire.send(line, {"done": message["id"]})
    os._exit(0)


def branch_off(new_line: int) -> None:
    """Fork this session. Returns in it, and in the branch, once that is furnished and has its own line for ours.

    Not by `os.fork`: `random` would take another seed in the branch, and a copy it is to be.

    Two forks: the first is the init of new namespaces, the second, in there, runs the cells. This process stays the
    parent of the init, which is none of the children that the session's own code can wait for.
    """
    line = socket.socket(fileno=new_line)
    try:
        init = linux.fork_into(seccomp.SESSION_FORK_FLAGS)
    except OSError as error:
        wire.send(line, {"failed": str(error)})
        init = -1
    if init:
        line.close()
        return
    try:
        linux.drop_capabilities()  # the new user namespace gave this process all of them, in there
    except OSError:
        os._exit(1)
    wire.send(line, {"branch": "init"})
    # Until the init has no handlers any more, of those that came along, the branch's signals must not reach it.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if program := linux.fork():
        _be_init(line, program)
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    wire.send(line, {"branch": "program"})
    if wire.receive(line) is None:
        os._exit(1)
    os.dup2(new_line, LINE_FD)
    line.close()
    os.chdir(tree.WORK)


def _be_init(line: Any, program: int) -> NoReturn:
    """Reap, and say how the program's process ended. The slot ends this one, below which branches may still live."""
    # From within its namespace the first process gets those signals only that it has a handler for: of the
    # interpreter's or the session's own, which came along. SIGCHLD has none: the filter lets nobody set one.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    linux.close_all_except(line.fileno())
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            signal.pause()
            continue
        if pid == program:
            with contextlib.suppress(OSError):
                wire.send(line, {"exited": status})


def _run_cell(program: Program, descriptors: list[int]) -> dict[str, Any]:
    request = _step_into(descriptors)
    streams = Streams()
    unwritten = _write_files(request["files"]) if request["files"] else None
    if not program.cells:
        _seed(request["seed"])
    report = unwritten or program.run(request["code"], request["mode"], draw=request["figures"])
    if report.get("exit"):
        _finish(streams)
    streams.flush()
    with contextlib.suppress(OSError):
        _write_report(REPORT_FD, report, request["output_bytes"])
        os.close(REPORT_FD)
    return report
