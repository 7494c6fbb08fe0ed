"""Chunks of lines worked on by several processes, so that a killed run goes on where it was.

A chunk is a run of consecutive lines of one file, the same for the same inputs. Its outcome depends on its lines alone
and goes to a part file of its own, written whole: a run that was killed at any moment goes on with the chunks that have
no part yet, and the joined result is the same byte for byte. A worker whose parent dies sees its pipe close and ends.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from dataset.files import read_raw_lines, written_whole
from sandbox.errors import InputError, SandboxError, SandboxUnavailable

# Small enough that progress is live and little is done twice after a kill; large enough that part files stay few.
_CHUNK_LINES = 200
_CHUNK_BYTES = 8 << 20
_FAREWELL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines of one file (its name as the user gave it) that are to become `part`."""

    part: Path
    file: str
    source: str
    lines: tuple[tuple[int, bytes | None], ...]


Work = Callable[[Chunk], Mapping[str, int]]  # makes the part file, returns counts
OpenWork = Callable[[], AbstractContextManager[Work]]  # called once in each worker; pickled


def cut(inputs: Sequence[tuple[Path, str]], work: Path, limit: int | None = None) -> Iterator[Chunk]:
    """The first `limit` lines of `inputs`, pairs of file and source, as chunks with parts in `work`."""
    number, left = 0, limit
    for path, source in inputs:
        lines: list[tuple[int, bytes | None]] = []
        size = 0
        for line_number, line in read_raw_lines(path):
            if left == 0:
                break
            left = None if left is None else left - 1
            lines.append((line_number, line))
            size += len(line or b"")
            if len(lines) == _CHUNK_LINES or size >= _CHUNK_BYTES:
                yield Chunk(work / f"{number:08d}.part", str(path), source, tuple(lines))
                number, lines, size = number + 1, [], 0
        if lines:
            yield Chunk(work / f"{number:08d}.part", str(path), source, tuple(lines))
            number += 1


def missing(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The chunks that have no part file yet."""
    return (chunk for chunk in chunks if not chunk.part.exists())


@contextmanager
def part_file(part: Path) -> Iterator[IO[str]]:
    """A text file that appears as `part` only when it is whole, also while an orphan writes the same part."""
    aside = part.with_name(f"{part.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        yield file
    os.replace(aside, part)


@contextmanager
def claimed(out: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """The folder for part files inside `out`, held against other runs and against other inputs or settings.

    Raises:
        InputError: another run is writing there now, or an unfinished one had another `config`.
    """
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{out}: another run is writing there; wait for it or choose another --out") from None
        path = work / "config.json"
        text = json.dumps(config, ensure_ascii=False, sort_keys=True)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise InputError(
                f"{out}: holds an unfinished run over other inputs or settings; remove it or choose another --out"
            )
        with written_whole(path) as file:
            file.write(text)
        yield work


def _serve(pipe: Connection, open_work: OpenWork) -> None:
    """A worker's life: chunks in, counts out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            with open_work() as work:
                while True:
                    chunk = pipe.recv()
                    pipe.send(("done", (len(chunk.lines), work(chunk))))
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


def run_chunks(chunks: Iterator[Chunk], workers: int, open_work: OpenWork) -> Iterator[tuple[int, Mapping[str, int]]]:
    """Work on `chunks` in `workers` processes; yields (lines, counts) of each as it is done, in no order.

    Chunks are taken from the iterator only as workers become free.

    Raises:
        SandboxUnavailable: a worker's sandbox failed for good.
        InputError: a worker cannot work with what it was given.
        RuntimeError: a worker died, or a mistake of ours ended it.
    """
    first = next(chunks, None)
    if first is None:
        return
    waiting = iter([first])
    with _workers(workers, open_work) as started:
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
                    raise SandboxUnavailable(f"{answer} (nothing was dropped for it; run the same command to go on)")
                if kind == "input":
                    raise InputError(answer)
                if kind == "mistake":
                    raise RuntimeError(f"in a worker process:\n{answer}")
                busy.remove(ready)
                idle.append(ready)
                yield answer
