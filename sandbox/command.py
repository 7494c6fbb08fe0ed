"""How every command of the project ends: one clear message and an exit code, never a traceback for a user's slip.

`soroban COMMAND …` is `python -m COMMAND …`, for those who installed a wheel.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import os
import re
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox import flags
from sandbox.errors import InputError, SandboxError

COMMANDS = {
    "sandbox": "run untrusted Python: serve, run, doctor, image, up, down, ps",
    "dataset": "make, verify and mix training data",
    "trainer": "fine-tune a model on a mix",
    "evaluator": "score models, compare runs, draw reports",
    "improve": "make a model better by its own solutions and their rewards",
}
_USAGE = "\n".join(
    [
        f"usage: soroban {{{','.join(COMMANDS)},completion}} …",
        "",
        *(f"  {name:<11} {purpose}" for name, purpose in COMMANDS.items()),
        "  completion  print a script that completes all this in bash, zsh or tcsh",
        "",
        "`soroban COMMAND --help` says more; `soroban --version` says which release this is.",
    ]
)


def soroban() -> int:
    """The console script: the same as `python -m` with its first argument."""
    flags.started_by = "soroban"
    if sys.argv[1:2] == ["--version"]:
        print(flags.version())
        return 0
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print(_USAGE)
        return 0
    name = sys.argv.pop(1)
    if name == "completion":
        from sandbox.completion import main

        return run_command(lambda arguments: main(arguments, COMMANDS))
    if name not in COMMANDS:
        expected = ", ".join((*COMMANDS, "completion"))
        print(f"error: {name!r} is no command of soroban's; expected one of {expected}", file=sys.stderr)
        return 2
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if (remedy := missing_extra(error)) is None:
            raise
        print(f"error: {remedy}", file=sys.stderr)
        return 2
    return 0


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install for the package that could not be imported; None if nothing of ours brings it."""
    module = (error.name or "").split(".")[0]
    package = re.sub("[-_.]+", "-", module).lower()
    requirements = _requirements()
    if requirements is None:
        if not module or module in sys.stdlib_module_names or module in COMMANDS:
            return None
        return f"{sys.executable} has no {package}; in a clone: ./setup.sh, then source .venv/bin/activate"
    for requirement in requirements:
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", requirement)
        if found and found[2] != "dev" and re.sub("[-_.]+", "-", found[1]).lower() == package:
            return f"{package} is not installed, which this needs; try: pip install 'soroban[{found[2]}]'"
    return None


def _requirements() -> list[str] | None:
    """What this Python's installation of soroban says it needs; None if there is none.

    A clone that was installed from has a soroban.egg-info beside its pyproject.toml, which every Python started there
    finds and takes for an installation.
    """
    for found in importlib.metadata.distributions(name="soroban"):
        if not Path(str(found.locate_file("pyproject.toml"))).exists():
            return found.requires or []
    return None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block. For the main thread.

    For imports that take seconds: a library whose import is broken off may answer with any error, and not with that.
    By a handler, not by the thread's mask: the kernel gives a signal to any thread that lets it in, and there may be
    others.
    """
    heard: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: heard.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) not in (signal.SIG_IGN, None)  # None: not of Python's making
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


# What a disk or a name is to blame for, beside files that are not there or not allowed.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST})


def _as_ctrl_c(*_: object) -> None:
    """SIGTERM ends what was started, too: a model's engine outlives a parent that just vanishes.

    Where Ctrl-C is ignored, as in all that a shell script starts with `&`, SIGTERM is not.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def run_command(main: Callable[[list[str]], int], *, goes_on: bool = True) -> int:
    """Run `main(argv)`; return its exit code, 2 for what the user can mend, 130 for Ctrl-C and SIGTERM.

    Only `InputError`, `SandboxError`, files and disks that cannot be used and packages of an extra that is not
    installed are reported in one line: anything else is a mistake of ours and keeps its traceback. `goes_on`: the same
    command, started again, goes on where it was stopped.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()  # here, where a full disk or a closed pipe is told in one line
        return code
    except (InputError, SandboxError) as error:
        message = str(error)
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        message = f"{error.filename}: {error.strerror}"
    except BrokenPipeError:  # `… | head` closed our output: not an error
        _give_up_output()
        return 0
    except OSError as error:
        if error.errno not in _DISK:
            raise
        message = f"{error.filename or 'writing'}: {error.strerror}"
        _give_up_output()
    except ModuleNotFoundError as error:
        if (remedy := missing_extra(error)) is None:
            raise
        message = remedy
    except KeyboardInterrupt:
        after_c = "\n" if sys.stderr.isatty() else ""  # a terminal shows ^C where the cursor is
        how = "; run the same command again to go on" if goes_on else ""
        print(f"{after_c}stopped{how}", file=sys.stderr)
        return 130
    print(f"error: {message}", file=sys.stderr)
    return 2


def _give_up_output() -> None:
    """Let what is still to be written to standard output go nowhere: Python would complain of it at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
