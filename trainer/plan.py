"""Which example goes into which row, decided for a whole pass over the data before it begins.

The plan is a function of (lengths, seed, epoch): every process computes the same one, so the state of the data is
one integer, the step, at any number of processes; and rows, targets, waste and epochs are known before step 1.

Examples are taken in random order into a buffer; each row begins with the one that waited longest and is filled by
best fit from the buffer. No example is cut. At lengths like the recipe's (mean 676 of 4,096) this wastes 0.7 % of
the slots where next-fit, the recipe read literally, wastes 12.6 %.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Plan:
    """Rows of one epoch: row r holds the examples `documents[starts[r]:starts[r + 1]]`, in that order."""

    documents: NDArray[np.int64]
    starts: NDArray[np.int64]
    row_tokens: int
    tokens: int  # slots in use

    @property
    def rows(self) -> int:
        return len(self.starts) - 1

    @property
    def waste(self) -> float:
        """Share of the slots that hold no token."""
        return 1 - self.tokens / (self.rows * self.row_tokens) if self.rows else 0.0

    def row(self, index: int) -> NDArray[np.int64]:
        """The examples of one row."""
        return self.documents[self.starts[index] : self.starts[index + 1]]


def plan(
    lengths: Sequence[int] | NDArray[np.int64],
    row_tokens: int,
    *,
    seed: int,
    epoch: int,
    buffer: int,
    weights: NDArray[np.float64] | None = None,
) -> Plan:
    """Rows of `row_tokens` that hold every example which fits, once, or as often as its weight says.

    Args:
        lengths: tokens of each example; those longer than a row, and those of no tokens, are left out.
        buffer: how many waiting examples best fit chooses from.
        weights: times a pass shows each example, see `times_in_pass`.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.random.default_rng((seed, epoch)).permutation(len(sizes) if weights is None else 0)
    if weights is not None:
        copies = np.repeat(np.arange(len(sizes)), times_in_pass(weights, seed=seed, epoch=epoch))
        order = np.random.default_rng((seed, epoch)).permutation(copies)
    order = order[(sizes[order] <= row_tokens) & (sizes[order] > 0)]
    chosen: list[int] = []
    starts = [0]
    for row in _fill(sizes[order].tolist(), row_tokens, buffer):
        chosen.extend(row)
        starts.append(len(chosen))
    documents = order[np.array(chosen, dtype=np.int64)]
    return Plan(documents, np.array(starts, dtype=np.int64), row_tokens, int(sizes[documents].sum()))


def times_in_pass(weights: NDArray[np.float64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """How often pass `epoch` shows each example: on average its weight, and never far from it.

    An example of weight w was shown floor(w x passes + r) times so far, with an r of its own from 0 to 1 that is even
    over the examples of the same weight: of 0.25 every pass shows another quarter, and after four all were shown once.
    """
    draw = np.random.default_rng((seed, 0, 1))
    ranks = np.empty(len(weights))
    for weight in np.unique(weights):
        same = np.flatnonzero(weights == weight)
        ranks[same] = (draw.permutation(len(same)) + 0.5) / len(same)
    before, after = (np.floor(weights * passes + ranks).astype(np.int64) for passes in (epoch, epoch + 1))
    times: NDArray[np.int64] = after - before
    return times


def _fill(sizes: Sequence[int], room: int, buffer: int) -> Iterator[list[int]]:
    """Rows of indices into `sizes`, each beginning with the index that has waited longest."""
    waiting: list[tuple[int, int]] = []  # (size, index), sorted
    placed = [False] * len(sizes)
    arrived = oldest = 0
    while True:
        while arrived < len(sizes) and len(waiting) < buffer:
            insort(waiting, (sizes[arrived], arrived))
            arrived += 1
        if not waiting:
            return
        while placed[oldest]:
            oldest += 1
        del waiting[bisect_left(waiting, (sizes[oldest], oldest))]
        placed[oldest] = True
        row, left = [oldest], room - sizes[oldest]
        while left > 0:
            if arrived < len(sizes) and len(waiting) < buffer:
                insort(waiting, (sizes[arrived], arrived))
                arrived += 1
            at = bisect_right(waiting, (left, len(sizes))) - 1
            if at < 0:
                break
            size, index = waiting.pop(at)
            placed[index] = True
            row.append(index)
            left -= size
        yield row
