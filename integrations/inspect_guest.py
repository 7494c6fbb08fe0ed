"""What runs inside a sandbox session for inspect_ai's provider: files in pieces, commands as child processes.

`inspect_sandbox` sends this text as the session's first cell; it sees nothing of this project. A command is a process
of its own, as with any provider: it shares files with the others, and no variables.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOME = Path.cwd()
# What crosses over lies here, beside the sample's own files: a request, a piece of a file, a command's input.
CALL, PIECE = ".soroban/call.json", ".soroban/piece"


def write(path: str, append: bool) -> None:
    """Put the piece that came in at the end of the file at `path`, or in its place."""
    target = HOME / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab" if append else "wb") as file:
        file.write((HOME / PIECE).read_bytes())


def read(path: str, offset: int, most: int) -> int:
    """Make at most `most` bytes from `offset` on the piece that goes out; the size of the whole file."""
    with (HOME / path).open("rb") as file:
        file.seek(offset)
        (HOME / PIECE).write_bytes(file.read(most))
        return os.fstat(file.fileno()).st_size


def run(command: list[str], seconds: float, cwd: str | None, env: dict[str, str], has_input: bool) -> int | None:
    """The return code of `command`, its streams the session's own; None if it was killed after `seconds`."""
    with open(HOME / ".soroban/input" if has_input else "/dev/null", "rb") as stdin:
        process = subprocess.Popen(
            command, stdin=stdin, cwd=HOME / (cwd or "."), env={**os.environ, **env}, start_new_session=True
        )
    try:
        code = process.wait(seconds)
        if code == -signal.SIGKILL:  # by the memory limit, mostly; a shell says so, too
            print("Killed", file=sys.stderr)
        return code if code >= 0 else 128 - code  # as a shell tells a signal
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Its children too: they would go on with the next command.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answer() -> str:
    """What the request in `CALL` comes to, as JSON."""
    verbs: dict[str, Callable[..., Any]] = {"write": write, "read": read, "run": run}
    call = json.loads((HOME / CALL).read_text())
    try:
        return json.dumps({"value": verbs[call.pop("verb")](**call)})
    except OSError as error:
        return json.dumps({"errno": error.errno, "message": error.strerror, "file": str(error.filename)})
