"""Which rows go into the mixture, decided on columns of numbers; the rows themselves stay on disk.

About 70 bytes of memory a row at the widest point: 70 MB at a million rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dataset.mixture.config import Mixture
from dataset.mixture.fingerprints import solution_of_row
from dataset.mixture.near import BANDS, similarity

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.uint64]

_KEYS = ("id", "order", "exact", "problem", "subject")
_OPEN_FILES = 500  # part files kept open while rows are copied in shuffled order
_PLACES = ("part", "file", "offset", "line")  # part of the mixture; part file, byte and input line of the row


class Columns:
    """The keys of all usable rows, one file of 64-bit numbers a column."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = sorted(folder.glob("*.part"))

    def write(self) -> Iterator[dict[str, Any]]:
        """Read the part files once; write the columns; yield what is not a usable row."""
        names = [*_KEYS, *_PLACES, *(f"band{number}" for number in range(BANDS))]
        with ExitStack() as stack:
            files = [stack.enter_context((self.folder / f"{name}.u64").open("wb")) for name in names]
            for number, part in enumerate(self.parts):
                table, others = self._read_part(number, part)
                yield from others
                if table:
                    for file, column in zip(files, np.array(table, dtype="<u8").T, strict=True):
                        file.write(np.ascontiguousarray(column).tobytes())

    @staticmethod
    def _read_part(number: int, part: Path) -> tuple[list[list[int]], list[dict[str, Any]]]:
        table: list[list[int]] = []
        others: list[dict[str, Any]] = []
        with part.open("rb") as file:
            while line := file.readline():
                record = json.loads(line)
                if record["kind"] != "row":
                    others.append(record)
                    continue
                places = [record["part"], number, file.tell(), record["line"]]
                table.append([*(record[name] for name in _KEYS), *places, *record["bands"]])
                file.readline()
        return table, others

    def read(self, name: str) -> Keys:
        """A column, as written."""
        return np.fromfile(self.folder / f"{name}.u64", dtype="<u8")

    @cached_property
    def _places(self) -> tuple[Keys, Keys]:
        """Part file and byte of each row."""
        return self.read("file"), self.read("offset")

    def rows(self, numbers: Sequence[int] | Rows) -> Iterator[bytes]:
        """The rows of these numbers, as lines of JSON, in the order given."""
        files, offsets = self._places
        with ExitStack() as stack:
            opened: dict[int, IO[bytes]] = {}
            for number in numbers:
                part = int(files[number])
                if part not in opened:
                    if len(opened) == _OPEN_FILES:
                        stack.close()
                        opened.clear()
                    opened[part] = stack.enter_context(self.parts[part].open("rb"))
                opened[part].seek(int(offsets[number]))
                yield opened[part].readline()

    def row(self, number: int) -> dict[str, Any]:
        """The row of that number."""
        files, offsets = self._places
        with self.parts[int(files[number])].open("rb") as file:
            file.seek(int(offsets[number]))
            row = json.loads(file.readline())
        assert isinstance(row, dict)
        return row

    def file_of(self, number: int) -> str:
        """The input file that a row came from."""
        with self.parts[int(self._places[0][number])].open(encoding="utf-8") as file:
            return str(json.loads(file.readline())["file"])


def first_with_equal(keys: Keys, alive: Mask) -> Rows:
    """For each row the number of the first living row with the same key: its own, where it is that row or dead."""
    rows = np.flatnonzero(alive)
    order = rows[np.argsort(keys[rows], kind="stable")]
    result = np.arange(len(keys))
    if len(order):
        starts = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1]])
        result[order] = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
    return result


def ranks(groups: Keys, order: Keys, alive: Mask) -> Rows:
    """The rank of each living row within its group, from 0, by `order`."""
    rows = np.flatnonzero(alive)
    rows = rows[np.lexsort((order[rows], groups[rows]))]
    result = np.zeros(len(groups), dtype=np.int64)
    if len(rows):
        starts = np.flatnonzero(np.r_[True, groups[rows][1:] != groups[rows][:-1]])
        lengths = np.diff(np.r_[starts, len(rows)])
        result[rows] = np.arange(len(rows)) - np.repeat(starts, lengths)
    return result


@dataclass(frozen=True, slots=True)
class Choice:
    """The rows of the mixture in their order, the rows with an id seen before, duplicates, and counts.

    `duplicates` are (row, kind, row it duplicates); `parts` has available and used rows of each part.
    """

    rows: Rows
    repeated_ids: Rows
    duplicates: list[tuple[int, str, int]]
    dropped: Counter[str]
    parts: list[dict[str, int]]


def choose(columns: Columns, mixture: Mixture, progress: Callable[[str], None] = lambda _: None) -> Choice:
    """Choose rows: ids once, duplicates once, then the caps and weights of the parts; shuffled.

    Of two equal or similar rows the first in the input stays. Under a cap the rows with the smallest `order`, a
    seeded hash of the id, stay; the same hash is the order of the mixture. So the choice depends on the
    inputs' rows and the seed, and a new row changes it little.
    """
    dropped: Counter[str] = Counter()
    order = columns.read("order")
    alive = np.ones(len(order), dtype=np.bool_)
    everyone = np.arange(len(order))
    repeated = np.flatnonzero(first_with_equal(columns.read("id"), alive) != everyone)
    alive[repeated] = False
    duplicates: list[tuple[int, str, int]] = []
    first = first_with_equal(columns.read("exact"), alive)
    for row in np.flatnonzero(first != everyone):
        duplicates.append((int(row), "exact", int(first[row])))
        alive[row] = False
    dropped["duplicate"] = len(duplicates)
    progress("near-duplicates")
    near = list(_near_duplicates(columns, alive, mixture.near_duplicates))
    dropped["near_duplicate"] = len(near)
    duplicates += near
    if mixture.per_problem is not None:
        over = alive & (ranks(columns.read("problem"), order, alive) >= mixture.per_problem)
        dropped["per_problem"] = int(over.sum())
        alive &= ~over
    parts = _fill(columns, mixture, order, alive, dropped)
    chosen = np.flatnonzero(alive)
    return Choice(chosen[np.argsort(order[chosen], kind="stable")], repeated, duplicates, +dropped, parts)


def _near_duplicates(columns: Columns, alive: Mask, threshold: float) -> Iterator[tuple[int, str, int]]:
    """Kill and yield the rows that are too similar to an earlier one."""
    everyone = np.arange(len(alive))
    for band in range(BANDS):
        first = first_with_equal(columns.read(f"band{band}"), alive)
        for row in np.flatnonzero(first != everyone):
            one, other = (solution_of_row(columns.row(int(number))) for number in (first[row], row))
            if similarity(one, other) >= threshold:
                alive[row] = False
                yield int(row), "near", int(first[row])


def _fill(columns: Columns, mixture: Mixture, order: Keys, alive: Mask, dropped: Counter[str]) -> list[dict[str, int]]:
    """Cut the parts down to their caps and weights; returns available and used rows of each."""
    part_of = columns.read("part")
    available = [int((alive & (part_of == number)).sum()) for number in range(len(mixture.parts))]
    if any(part.cap_per_subject for part in mixture.parts):
        caps = np.array([part.cap_per_subject or np.iinfo(np.int64).max for part in mixture.parts])
        # Within a part: the same subject may also be in another one.
        groups = columns.read("subject") ^ (part_of * np.uint64(0x9E3779B97F4A7C15))
        over = alive & (ranks(groups, order, alive) >= caps[part_of.astype(np.int64)])
        dropped["over_cap"] += int(over.sum())
        alive &= ~over
    left = [int((alive & (part_of == number)).sum()) for number in range(len(mixture.parts))]
    sizes = _sizes(mixture, left)
    over = alive & (ranks(part_of, order, alive) >= np.array(sizes)[part_of.astype(np.int64)])
    dropped["over_cap"] += int(over.sum())
    alive &= ~over
    return [{"available": a, "used": u} for a, u in zip(available, sizes, strict=True)]


def _sizes(mixture: Mixture, available: Sequence[int]) -> list[int]:
    """How many rows each part gets."""
    sizes = [min(n, part.cap or n) for n, part in zip(available, mixture.parts, strict=True)]
    weights: Mapping[int, float] = {n: part.weight for n, part in enumerate(mixture.parts) if part.weight is not None}
    budget = None if mixture.rows is None else mixture.rows - sum(s for n, s in enumerate(sizes) if n not in weights)
    if weights:
        total = sum(weights.values())
        scale = min(sizes[n] / weight for n, weight in weights.items()) if budget is None else max(0, budget) / total
        for n, weight in weights.items():
            sizes[n] = min(sizes[n], round(scale * weight))
    if mixture.rows is not None and sum(sizes) > mixture.rows:
        scale = mixture.rows / sum(sizes)
        sizes = [int(size * scale) for size in sizes]
    return sizes
