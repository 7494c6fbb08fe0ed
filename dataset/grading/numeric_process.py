"""A process of its own for computations that may not end: started once, used again, killed when time is up.

Usable from any thread and, through `asyncio.to_thread`, from a loop: each caller has a process to itself while it
waits, and no signal or alarm is used. The process is started by exec, so nothing of the caller's (a GPU context, a
thread's lock) is copied into it. Only our own trees go in, and one word comes back.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

from dataset.grading.tree import Node

CPU_SECONDS = 0.2  # of computing for one question; an ordinary one takes under a millisecond
SECONDS = 5.0  # that a question is waited for, on a machine with much else to do
START_SECONDS = 60.0  # for a process to start, on a machine with much else to do
MEMORY_BYTES = 1 << 30
_ROOT = Path(__file__).parents[2]


class _Process:
    """One child that answers one question at a time. It is started at once and waited for at the first question."""

    def __init__(self) -> None:
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        self.ready = False
        self.child = subprocess.Popen(
            # -P: a folder that happens to be the current one must not put its modules in the place of ours.
            [sys.executable, "-P", "-m", "dataset.grading.numeric_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            start_new_session=True,  # Ctrl-C is the caller's; the child goes when its input closes
        )

    def wait_until_ready(self) -> None:
        if not self.ready and self.line(START_SECONDS) != b"ready\n":
            raise RuntimeError("the grader's process did not start: python -m dataset.grading.numeric_worker")
        self.ready = True

    def line(self, seconds: float) -> bytes | None:
        """The next line, or None if the child has said nothing in `seconds` or is gone."""
        assert self.child.stdout is not None
        deadline = time.monotonic() + seconds
        poll = select.poll()  # not select: a server's descriptors may have numbers beyond its 1,024
        poll.register(self.child.stdout, select.POLLIN)
        found = b""
        while not found.endswith(b"\n"):
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            piece = os.read(self.child.stdout.fileno(), 64) if ready else b""
            if not piece:
                return None
            found += piece
        return found

    def ask(self, question: bytes, seconds: float) -> bytes | None:
        """The answer, or None if there is none in time or the child has died."""
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(len(question).to_bytes(4, "big") + question)
            self.child.stdin.flush()
        except BrokenPipeError:
            return None
        return self.line(seconds)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            with contextlib.suppress(BrokenPipeError):  # what it was not there to read is lost with it
                if pipe is not None:
                    pipe.close()


_idle: list[_Process] = []
_lock = threading.Lock()
MAX_IDLE = 8  # more than this many at once are not kept


def _forget() -> None:
    """In a forked child: the parent's processes are not ours to use or to kill, and must not outlive it through us."""
    global _lock
    _lock = threading.Lock()
    for process in _idle:
        process.child.returncode = 0
        for pipe in (process.child.stdin, process.child.stdout):
            if pipe is not None:
                pipe.close()
    _idle.clear()


os.register_at_fork(after_in_child=_forget)


def _take() -> _Process:
    """An idle process that is alive, or a new one."""
    while True:
        with _lock:
            process = _idle.pop() if _idle else None
        if process is None:
            return _Process()
        if process.child.poll() is None:
            return process
        process.kill()


def agree(one: Node, other: Node, seconds: float | None = None) -> bool | None:
    """`numeric.agree` with a limit, `SECONDS` unless told: None also where time or memory ran out."""
    question = pickle.dumps((one, other))
    process = _take()
    answer: bytes | None = None
    try:
        process.wait_until_ready()
        answer = process.ask(question, SECONDS if seconds is None else seconds)
    finally:
        if answer is None:
            process.kill()
            process = _Process()  # so that it is ready when the next question comes
        with _lock:
            keep = len(_idle) < MAX_IDLE
            if keep:
                _idle.insert(0 if answer is None else len(_idle), process)  # one that still starts is asked last
        if not keep:
            process.kill()
    return {b"True\n": True, b"False\n": False}.get(answer or b"")


def close() -> None:
    """End the idle processes; the next question starts new ones."""
    with _lock:
        processes = list(_idle)
        _idle.clear()
    for process in processes:
        process.kill()


atexit.register(close)
