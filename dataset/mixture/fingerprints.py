"""What one mixing worker does: each line of a chunk to the row of the mixture, with what is needed to choose it.

A part file holds, for each line of input, one line that says what became of it, and for usable rows a second line:
the row itself, ready to be written. The first lines' fields are read by `dataset.mixture.select`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from dataset import transcript
from dataset.chunks import Chunk, Work
from dataset.files import parse_line, write_line
from dataset.mixture.config import Mixture
from dataset.mixture.contamination import Benchmarks
from dataset.mixture.near import bands
from dataset.mixture.words import hash64, words
from dataset.sources import find_source
from dataset.sources.records import LeftOut
from dataset.types import Problem, Solution


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSettings:
    """What a mixing worker must know."""

    mixture: Mixture
    seed: int
    benchmarks: tuple[Path, ...]
    shipped: bool = False  # also refuse what the fingerprints in this package know


def example_row(solution: Solution) -> dict[str, Any]:
    """The row of the mixture: who it is, and the chat messages.

    Raises:
        ValueError: the turns cannot be written down and read back.
    """
    problem = solution.problem
    return {
        "id": solution.id,
        "source": problem.source,
        "language": problem.language,
        "style": solution.style,
        "subject": problem.subject,
        "level": problem.level,
        "messages": [
            {"role": "user", "content": transcript.prompt(problem.question, solution.style, problem.language)},
            {"role": "assistant", "content": transcript.render(solution.turns)},
        ],
    }


def solution_of_row(row: Mapping[str, Any]) -> Solution:
    """The solution in a row that `example_row` made, without its reference."""
    problem = Problem(
        id=row["id"],
        source=row["source"],
        language=row["language"],
        question=transcript.asked(row["messages"][0]["content"]),
        answer=None,
        subject=row["subject"],
        level=row["level"],
    )
    turns = transcript.parse(row["messages"][1]["content"])
    return Solution(id=row["id"], problem=problem, style=row["style"], turns=turns)


def _keys(solution: Solution, text: str, part: int, seed: int) -> dict[str, Any]:
    question = words(solution.problem.question)
    return {
        "kind": "row",
        "part": part,
        "id": hash64(solution.id),
        "order": hash64(str(seed), solution.id),
        "exact": hash64(solution.style, *question, "", *words(text)),
        "problem": hash64(solution.style, *question),
        "subject": hash64(solution.problem.source, solution.problem.subject),
        "bands": bands(solution),
    }


def fingerprint_chunk(chunk: Chunk, file: IO[str], settings: MixSettings, benchmarks: Benchmarks) -> dict[str, int]:
    """Write what the part of `chunk` is to hold into `file`; return the counts of rows, refused and bad."""
    counts = {"row": 0, "refused": 0, "bad": 0, "left_out": 0, "no_part": 0}
    source, stem = find_source(chunk.source), Path(chunk.file).stem
    for number, line in chunk.lines:
        where = {"file": chunk.file, "line": number}
        try:
            solutions = [c.solution for c in source.candidates(parse_line(line), f"{stem}/{number}")]
            rows = [example_row(solution) for solution in solutions]
        except LeftOut as reason:
            counts["left_out"] += 1
            write_line(file, {"kind": "left_out", **where, "reason": str(reason)})
            continue
        except ValueError as error:  # InputError is one
            counts["bad"] += 1
            write_line(file, {"kind": "bad", **where, "problem": str(error)})
            continue
        for solution, row in zip(solutions, rows, strict=True):
            if found := benchmarks.match(solution.problem.question):
                counts["refused"] += 1
                write_line(file, {"kind": "refused", "id": solution.id, **where, **asdict(found)})
            elif (part := settings.mixture.part_of(solution)) is None:
                counts["no_part"] += 1
                write_line(file, {"kind": "no_part", **where})
            else:
                counts["row"] += 1
                write_line(file, _keys(solution, row["messages"][1]["content"], part, settings.seed) | where)
                write_line(file, row)
    return counts


@contextmanager
def open_fingerprinter(settings: MixSettings, benchmarks: Benchmarks) -> Iterator[Work]:
    """A worker's `fingerprint_chunk`. The benchmarks come read: a worker elsewhere does not have their files."""
    yield lambda chunk, file: fingerprint_chunk(chunk, file, settings, benchmarks)
