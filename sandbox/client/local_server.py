"""The engine's verbs, answered by several processes that live as long as this object: `Sandbox(processes=4)`.

A server on a unix socket in a folder that only this user may enter. The caller's own process then only sends and reads;
what an engine costs a program is paid by the others, on their cores. They end with the caller, also when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.client.remote import Remote
from sandbox.errors import InputError, SandboxUnavailable

if TYPE_CHECKING:
    from sandbox.client.asynchronous import EngineOptions

_ROOT = str(Path(__file__).parents[2])
# The server's parent is ended by the kernel with the process that started it, and ends its own.
_BOOT = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from sandbox.engine.lifetime import end_with_parent; end_with_parent(int(sys.argv.pop(1))); "
    "from sandbox.command import run_command; from sandbox.__main__ import main; sys.exit(run_command(main))"
)
_START_SECONDS = 120.0


class LocalServer(Remote):
    """See `Door`. `options` are those of an engine; its slots are shared out among `processes`."""

    def __init__(self, processes: int, options: EngineOptions, *, patience_seconds: float = 60.0) -> None:
        workers = options.get("workers") or len(os.sched_getaffinity(0))
        if not 1 <= processes <= workers:
            raise InputError(f"processes is {processes}, expected 1 to one for each of {workers} workers")
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-")
        self._path = os.path.join(self._folder.name, "socket")
        self._flags = ["--uds", self._path, "--processes", str(processes), "--workers", str(workers)]
        for name, value in options.items():
            if name != "workers":
                text = ",".join(value) if isinstance(value, tuple) else str(value)
                self._flags += ["--" + name.replace("_", "-"), text]
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(f"unix://{self._path}", patience_seconds=patience_seconds)

    async def start(self) -> None:
        # Started by this thread, whose end would end them, too: it is the one that has the event loop.
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-c", _BOOT, _ROOT, str(os.getpid()), "serve", *self._flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await asyncio.to_thread(self._first_line)
        except BaseException:
            await self._end()
            raise
        if "listening on " not in line:
            await self._end()
            raise SandboxUnavailable(line.removeprefix("error: ").strip() or "the server died while it started")
        await super().start()

    def _first_line(self) -> str:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode(errors="replace")
            if "listening on " in text or text.startswith("error: "):
                return text
        return ""

    async def close(self) -> None:
        await super().close()
        await self._end()

    async def _end(self) -> None:
        if (process := self._process) is not None:
            for _ in range(2):  # the second says not to wait for what runs
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.05)
            while process.poll() is None:
                await asyncio.sleep(0.01)
            if process.stderr is not None:
                process.stderr.close()
        self._folder.cleanup()
