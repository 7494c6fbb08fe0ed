"""How every command of the project ends: one clear message and an exit code, never a traceback for a user's slip.

`soroban COMMAND …` is `python -m COMMAND …`, for those who installed a wheel.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import runpy
import signal
import sys
import threading
from collections.abc import Callable

from sandbox.errors import InputError, SandboxError

COMMANDS = ("sandbox", "dataset", "trainer", "evaluator")
_USAGE = f"""usage: soroban {{{",".join(COMMANDS)}}} …

  sandbox     run untrusted Python: serve, run, doctor, up, down, ps
  dataset     make, verify and mix training data
  trainer     fine-tune a model on a mix
  evaluator   score models, compare runs, draw reports

`soroban COMMAND --help` says more; `soroban --version` says which release this is."""


def soroban() -> int:
    """The console script: the same as `python -m` with its first argument."""
    if sys.argv[1:2] == ["--version"]:
        print(f"soroban {importlib.metadata.version('soroban')}")
        return 0
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if sys.argv[1] not in COMMANDS:
        expected = ", ".join(COMMANDS)
        print(f"error: {sys.argv[1]!r} is no command of soroban's; expected one of {expected}", file=sys.stderr)
        return 2
    name = sys.argv.pop(1)
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if (remedy := missing_extra(error)) is None:
            raise
        print(f"error: {remedy}", file=sys.stderr)
        return 2
    return 0


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install for the package that could not be imported; None if no extra of ours brings it."""
    package = re.sub("[-_.]+", "-", (error.name or "").split(".")[0]).lower()
    try:
        requirements = importlib.metadata.requires("soroban") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder that was never installed
        requirements = []
    for requirement in requirements:
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", requirement)
        if found and found[2] != "dev" and re.sub("[-_.]+", "-", found[1]).lower() == package:
            return f"{package} is not installed, which this needs; try: pip install 'soroban[{found[2]}]'"
    return None


def run_command(main: Callable[[list[str]], int]) -> int:
    """Run `main(argv)`; return its exit code, 2 for what the user can mend, 130 for Ctrl-C and SIGTERM.

    Only `InputError`, `SandboxError`, missing or forbidden files and packages of an extra that is not installed are
    reported in one line: anything else is a mistake of ours and keeps its traceback.
    """
    if threading.current_thread() is threading.main_thread():
        # As Ctrl-C, so that what was started is ended, too: a model's engine outlives a parent that just vanishes.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return main(sys.argv[1:])
    except (InputError, SandboxError) as error:
        message = str(error)
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        message = f"{error.filename}: {error.strerror}"
    except ModuleNotFoundError as error:
        if (remedy := missing_extra(error)) is None:
            raise
        message = remedy
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head` closed our output: not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    print(f"error: {message}", file=sys.stderr)
    return 2
