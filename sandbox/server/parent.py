"""The parent of several front processes: starts them, starts those again that die, ends them all with itself.

It answers no request and has no event loop. The sockets they listen on are its own, so that a connection that waits for
a process which dies is taken up by the next in its place.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from sandbox.engine.lifetime import end_with_parent
from sandbox.errors import SandboxUnavailable

_PAUSE_SECONDS = 1.0  # before a process is started again: one that cannot start must not be all that is done
Child = Callable[[int, Callable[[str], None]], None]  # serves as process INDEX; calls the other with a line when ready


class Parent:
    """Runs `child` in `count` processes."""

    def __init__(self, count: int, child: Child) -> None:
        self._count, self._child = count, child
        self._running: dict[int, int] = {}  # index by pid
        self._stopping = False

    def run(self, ready: Callable[[list[str]], None]) -> None:
        """Start all, call `ready` with what each said, and return when all have ended, after SIGTERM or Ctrl-C.

        Raises:
            SandboxUnavailable: one could not start; none is left.
        """
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            pipes = [self._start(index) for index in range(self._count)]
            words = [_read(pipe) for pipe in pipes]
            if not self._stopping:
                if failed := [word for word in words if not word.startswith("ready ")]:
                    raise SandboxUnavailable(failed[0].removeprefix("failed ") or "a process died while it started")
                ready([word.removeprefix("ready ") for word in words])
            self._wait()
        finally:
            self._stopping = True
            for pid in self._running:
                os.kill(pid, signal.SIGKILL)
            while self._running:
                self._reap()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, *_: object) -> None:
        """Have all drain; at the second signal, end at once."""
        self._stopping = True
        for pid in list(self._running):
            os.kill(pid, signal.SIGTERM)

    def _start(self, index: int) -> int:
        """Fork one; a descriptor on which it says that it is ready, or why not."""
        reading, writing = os.pipe()
        # Until the child has its own handlers, it must not act on ours.
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        parent = os.getpid()
        if (pid := os.fork()) == 0:
            os.close(reading)
            self._be_child(index, writing, parent)
        self._running[pid] = index
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        os.close(writing)
        return reading

    def _be_child(self, index: int, told: int, parent: int) -> NoReturn:
        code = 1
        try:
            end_with_parent(parent)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes to all of a terminal: the parent passes it on
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
            self._child(index, lambda word: _tell(told, f"ready {word}"))
            code = 0
        except BaseException as error:  # noqa: BLE001 - the process ends here
            _tell(told, f"failed {error}")
            print(f"sandbox: process {index} ends: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)

    def _wait(self) -> None:
        while self._running:
            index = self._reap()
            if index is None or self._stopping:
                continue
            print(f"sandbox: process {index} died and is started again", file=sys.stderr, flush=True)
            time.sleep(_PAUSE_SECONDS)
            if not self._stopping:
                os.close(self._start(index))

    def _reap(self) -> int | None:
        pid, _ = os.waitpid(-1, 0)
        return self._running.pop(pid, None)


def _tell(descriptor: int, word: str) -> None:
    try:
        os.write(descriptor, word.encode()[:4096])
    except OSError:  # the parent reads no more
        return


def _read(descriptor: int) -> str:
    """What a child said first; nothing if it died."""
    word = os.read(descriptor, 4096).decode(errors="replace")
    os.close(descriptor)
    return word
