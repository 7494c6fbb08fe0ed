"""A program's open files as the engine holds them: its request and stdin as files, its output as pipes drained at once.

Both pipes are read while the program runs: a full pipe blocks it, and we would call that a timeout.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os

from sandbox import wire
from sandbox.report import report_budget
from sandbox.streams import HeadTail
from sandbox.types import ExecRequest

_CHUNK = 1 << 16


class Pipes:
    """Made in a running event loop, for one run or cell. Call `close` at its end, whatever happened."""

    def __init__(self, request: ExecRequest) -> None:
        budget = request.limits.output_bytes
        self.stdout, self.stderr = HeadTail(budget), HeadTail(budget)
        self._claims = bytearray()
        self._most_claims = report_budget(budget)
        files = {name: base64.b64encode(content).decode() for name, content in request.files.items()}
        payload = {"code": request.code, "mode": request.mode, "seed": request.seed, "files": files,
                   "output_bytes": budget}  # fmt: skip
        self._theirs = [
            wire.file_of(json.dumps(payload).encode(), "program"),
            wire.file_of(request.stdin.encode("utf-8", "surrogatepass"), "stdin"),
        ]
        self._loop = asyncio.get_running_loop()
        self._ours: list[int] = []
        for sink in (self.stdout.feed, self.stderr.feed, self._claim):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            self._loop.add_reader(ours, self._read, ours, sink)
            self._ours.append(ours)
            self._theirs.append(theirs)

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

    def _read(self, descriptor: int, sink: object) -> bool:
        """Feed one chunk to `sink`; False at the end or while there is none."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(descriptor)
            return False
        sink(chunk)  # type: ignore[operator]
        return True

    def drain(self) -> None:
        """Read what is still in the pipes, when no process is left that could write more."""
        for descriptor, sink in zip(self._ours, (self.stdout.feed, self.stderr.feed, self._claim), strict=True):
            while self._read(descriptor, sink):
                pass

    def close(self) -> None:
        for descriptor in self._ours:
            self._loop.remove_reader(descriptor)
        for descriptor in (*self._ours, *self._theirs):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._ours, self._theirs = [], []
