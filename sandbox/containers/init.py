"""The first process of a container: runs the service, reaps what programs leave behind, passes signals on.

    python -m sandbox.containers.init [ARGUMENTS OF python -m sandbox serve]

A process whose parent is gone becomes the first one's child. Unreaped, it counts among those that its user may have,
and its number stays taken. Where the kernel offers subreapers, `sandbox.jail.pod` needs none of this; gVisor does not.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn


def main(argv: list[str]) -> NoReturn:
    """Serve as `argv` says; end when the service does, as it did."""
    service = os.fork()
    if service == 0:
        # Imported only here: this process stays small.
        from sandbox.__main__ import main as sandbox
        from sandbox.command import run_command

        sys.argv[1:] = ["serve", *argv]
        sys.exit(run_command(sandbox))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(service, number))
    while True:
        pid, status = os.wait()
        if pid == service:
            code = os.waitstatus_to_exitcode(status)
            sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])
