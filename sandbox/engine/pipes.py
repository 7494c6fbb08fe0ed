"""A program's open files as the engine holds them: its request and stdin as files, its output as pipes.

The pipes are read while the program runs: a full pipe blocks it, and we would call that a timeout. But most programs
end before any of them could be full, and are read once, when they have.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable

from sandbox import wire
from sandbox.coding import files_to_json
from sandbox.engine.results import report_budget
from sandbox.streams import HeadTail
from sandbox.types import ExecRequest

_CHUNK = 1 << 16
_SOON_SECONDS = 0.02  # what ends so soon is not watched; a flood waits so long, once


class Pipes:
    """Made in a running event loop, for one run or cell. Call `close` at its end, whatever happened."""

    def __init__(self, request: ExecRequest) -> None:
        budget = request.limits.output_bytes
        self.stdout, self.stderr = HeadTail(budget), HeadTail(budget)
        self._claims = bytearray()
        self._most_claims = report_budget(budget)
        payload = {"code": request.code, "mode": request.mode, "seed": request.seed, "output_bytes": budget,
                   "files": files_to_json(request.files), "figures": request.fetch_figures}  # fmt: skip
        self._loop = asyncio.get_running_loop()
        self._theirs: list[int] = []
        self._sinks: dict[int, Callable[[bytes], None]] = {}  # by our end of the pipe
        self._watched: set[int] = set()
        self._soon = self._loop.call_later(_SOON_SECONDS, self._watch)
        try:
            self._theirs.append(wire.file_of(json.dumps(payload).encode(), "program"))
            self._theirs.append(
                wire.file_of(request.stdin.encode("utf-8", "surrogatepass"), "stdin")
                if request.stdin
                else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            )
            for sink in (self.stdout.feed, self.stderr.feed, self._claim):
                ours, theirs = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(ours, False)
                self._sinks[ours] = sink
                self._theirs.append(theirs)
        except BaseException:
            self.close()  # there are no more descriptors: the few that were made are wanted elsewhere
            raise

    def theirs(self) -> list[int]:
        """The descriptors the program's process gets: request, stdin, stdout, stderr, report."""
        return self._theirs

    def sent(self) -> None:
        """Close our copies of them: the other side has its own."""
        for descriptor in self._theirs:
            os.close(descriptor)
        self._theirs = []

    def _claim(self, chunk: bytes) -> None:
        if len(self._claims) <= self._most_claims:
            self._claims += chunk

    def report(self) -> bytes:
        """What came on the report pipe; nothing if it was more than a report can be."""
        return bytes(self._claims) if len(self._claims) <= self._most_claims else b""

    def _watch(self) -> None:
        for descriptor in self._sinks:
            self._loop.add_reader(descriptor, self._read, descriptor)
            self._watched.add(descriptor)

    def _unwatch(self, descriptor: int) -> None:
        if descriptor in self._watched:
            self._watched.remove(descriptor)
            self._loop.remove_reader(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Take one chunk in; False at the end or while there is none."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._unwatch(descriptor)
            return False
        self._sinks[descriptor](chunk)
        return True

    def drain(self) -> None:
        """Read what is still in the pipes, when no process is left that could write more."""
        for descriptor in self._sinks:
            while self._read(descriptor):
                pass

    def close(self) -> None:
        self._soon.cancel()
        for descriptor in self._sinks:
            self._unwatch(descriptor)
        for descriptor in (*self._sinks, *self._theirs):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._sinks, self._theirs = {}, []
