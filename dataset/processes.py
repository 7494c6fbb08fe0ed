"""Chunks worked on by several processes of this machine. A worker whose parent dies sees its pipe close and ends."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from dataset.chunks import GO_ON, Chunk, Counts, OpenWork, part_file
from sandbox.errors import InputError, SandboxError, SandboxUnavailable

_FAREWELL_SECONDS = 2.0


@contextmanager
def born_deaf() -> Iterator[None]:
    """Ctrl-C does not reach the processes that are started in the block, which it would otherwise find importing.

    They call `stay_deaf` first. In this process Ctrl-C waits for the end of the block.
    """
    resource_tracker.ensure_running()  # its start, which the first process would bring, lets Ctrl-C in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stay_deaf() -> None:
    """Leave Ctrl-C to the parent for good."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # and so the mask, which programs would inherit, can go
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _serve(pipe: Connection, open_work: OpenWork) -> None:
    """A worker's life: chunks in, counts out, until the pipe closes."""
    stay_deaf()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            with open_work() as work:
                while True:
                    chunk = pipe.recv()
                    with part_file(chunk.part) as file:
                        counts = work(chunk, file)
                    pipe.send(("done", (len(chunk.lines), counts)))
        except SandboxError as error:
            pipe.send(("sandbox", str(error)))
        except InputError as error:  # an address that is none, say, which the first use finds
            pipe.send(("input", str(error)))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except BaseException:  # noqa: BLE001 - whatever it is, the parent must say it
            pipe.send(("mistake", traceback.format_exc()))


@contextmanager
def _workers(count: int, open_work: OpenWork) -> Iterator[dict[Connection, BaseProcess]]:
    context = multiprocessing.get_context("spawn")  # forking a process that has threads is unsafe
    started: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process: BaseProcess = context.Process(target=_serve, args=(theirs, open_work))
            with born_deaf():
                process.start()
            theirs.close()
            started[ours] = process
        yield started
    finally:
        for pipe in started:
            pipe.close()
        for process in started.values():
            process.join(_FAREWELL_SECONDS)  # between chunks it ends by itself, and closes what it opened
            process.kill()  # in the middle of one it does not: what it opened sees that it is gone
            process.join()


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """`count` processes of this machine; see `dataset.chunks.Workers`."""

    count: int

    def run(self, chunks: Iterator[Chunk], open_work: OpenWork) -> Iterator[tuple[int, Counts]]:
        """See `Workers.run`."""
        first = next(chunks, None)
        if first is None:
            return
        waiting = iter([first])
        with _workers(self.count, open_work) as started:
            idle, busy = list(started), set[Connection]()
            while True:
                while idle and (chunk := next(waiting, None) or next(chunks, None)):
                    pipe = idle.pop()
                    busy.add(pipe)
                    with suppress(BrokenPipeError):  # it has ended: what it said before is read below
                        pipe.send(chunk)
                if not busy:
                    return
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    try:
                        kind, answer = ready.recv()
                    except (EOFError, ConnectionResetError):
                        started[ready].join(1.0)
                        code = started[ready].exitcode
                        raise RuntimeError(f"a worker process died (exit code {code}); run again to go on") from None
                    if kind == "sandbox":
                        raise SandboxUnavailable(f"{answer} {GO_ON}")
                    if kind == "input":
                        raise InputError(answer)
                    if kind == "mistake":
                        raise RuntimeError(f"in a worker process:\n{answer}")
                    busy.remove(ready)
                    idle.append(ready)
                    yield answer
