"""Work that scales by rows: chunks of lines in, results out, so that a killed run goes on where it was.

A chunk is a run of consecutive lines of one file, the same for the same inputs, and named by its content. Its result
depends on its lines alone and goes to a part file of its own, written whole: a run that was killed at any moment goes
on with the chunks that have no part yet, a chunk that is worked on twice gives the same part, and the joined result is
the same byte for byte. Who works on them are processes of this machine (`dataset.processes`) or actors of a Ray
cluster (`dataset.actors`); nothing else knows where it runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from dataset.files import read_raw_lines, written_whole
from sandbox.errors import InputError

# Small enough that progress is live and little is done twice after a kill; large enough that part files stay few.
_CHUNK_LINES = 200
_CHUNK_BYTES = 8 << 20
GO_ON = "(nothing was dropped for it; run the same command to go on)"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines of one file (its name as the user gave it) that are to become `part`.

    `part` is on the machine of who cuts; who works on the chunk may be elsewhere and never opens it.
    """

    part: Path
    file: str
    source: str
    lines: tuple[tuple[int, bytes | None], ...]


Counts = Mapping[str, int]
Work = Callable[[Chunk, IO[str]], Counts]  # writes what the part is to hold, returns counts
OpenWork = Callable[[], AbstractContextManager[Work]]  # called once in each worker; pickled


class Workers(Protocol):
    """Who works on chunks."""

    def run(self, chunks: Iterator[Chunk], open_work: OpenWork) -> Iterator[tuple[int, Counts]]:
        """Make the part files of `chunks`; yields (lines, counts) of each as it is done, in no order.

        Chunks are taken from the iterator only as workers become free.

        Raises:
            InputError: the workers cannot be had.
            SandboxUnavailable: a worker's sandbox failed for good.
            RuntimeError: workers died for no reason that is known, or a mistake of ours ended one.
        """
        ...


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
                yield _chunk(work, number, path, source, lines)
                number, lines, size = number + 1, [], 0
        if lines:
            yield _chunk(work, number, path, source, lines)
            number += 1


def _chunk(work: Path, number: int, path: Path, source: str, lines: Sequence[tuple[int, bytes | None]]) -> Chunk:
    """A chunk whose part is named by its place, which is the order of the parts, and by its content."""
    content = hashlib.blake2b(f"{path.stem}\0{source}\0{lines[0][0]}\0".encode(), digest_size=8)
    for _, line in lines:
        content.update(b"\0" if line is None else line)
    return Chunk(work / f"{number:08d}-{content.hexdigest()}.part", str(path), source, tuple(lines))


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
