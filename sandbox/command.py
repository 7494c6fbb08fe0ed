"""How every command of the project ends: one clear message and an exit code, never a traceback for a user's slip."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from sandbox.errors import InputError, SandboxError


def run_command(main: Callable[[list[str]], int]) -> int:
    """Run `main(argv)`; return its exit code, 2 for what the user can mend, 130 for Ctrl-C and SIGTERM.

    Only `InputError`, `SandboxError` and missing or forbidden files are reported in one line: anything else
    is a mistake of ours and keeps its traceback.
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
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head` closed our output: not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    print(f"error: {message}", file=sys.stderr)
    return 2
