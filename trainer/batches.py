"""Which rows a step takes, and rows as arrays.

Legend of shape suffixes here and in `model.py`: T tokens of a micro-batch (its rows concatenated), N targets,
C channels, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.errors import InputError
from trainer.plan import Plan, plan
from trainer.render import Rendered

Example = tuple[NDArray[np.uint32], NDArray[np.bool_]]  # tokens, learned
IGNORED = -100


@dataclass(frozen=True)
class Row:
    """Whole examples side by side; four int64 arrays of shape (row_tokens,).

    `targets` is the token to be learned at each place, the next one of the same example, or -100; `positions`
    restarts with each example; `segments` counts examples from 1 and is 0 on padding.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    positions: NDArray[np.int64]
    segments: NDArray[np.int64]


def fill_row(examples: Sequence[Example], row_tokens: int) -> Row:
    """`examples` in one row; what is left is padding, an example of its own without targets."""
    row = Row(*(np.full(row_tokens, value, dtype=np.int64) for value in (0, IGNORED, 0, 0)))
    at = 0
    for number, (tokens, learned) in enumerate(examples, 1):
        end = at + len(tokens)
        assert end <= row_tokens, "the plan put more into a row than it holds"
        row.tokens[at:end] = tokens
        row.targets[at : end - 1] = np.where(learned[1:], tokens[1:].astype(np.int64), IGNORED)
        row.positions[at:end] = np.arange(end - at)
        row.segments[at:end] = number
        at = end
    row.positions[at:] = np.arange(row_tokens - at)
    return row


@dataclass(frozen=True)
class MicroBatch:
    """Rows concatenated, on a device. `where_N` are the places that have a target, `labels_N` the targets."""

    tokens_1T: Tensor
    positions_1T: Tensor
    borders: Tensor
    where_N: Tensor
    labels_N: Tensor
    groups_N: Tensor


def example_weights(data: Rendered, weights: Mapping[str, float]) -> NDArray[np.float64]:
    """The weight of each example: that of the longest name that it goes by, or 1.

    Raises:
        InputError: a name that no example goes by, or nothing is left.
    """
    by_name = np.ones(len(data.names))
    known = set()
    for number, name in enumerate(data.names):
        for length in (1, 2, 3):
            known.add("/".join(name[:length]))
            by_name[number] = weights.get("/".join(name[:length]), by_name[number])
    if unknown := sorted(set(weights) - known):
        raise InputError(
            f"--source-weights names {', '.join(unknown)}, which the data do not hold; they hold "
            f"{', '.join(sorted('/'.join(name) for name in data.names))}"
        )
    if not by_name.any():
        raise InputError("--source-weights leaves out every example: give one of them more than 0")
    return by_name[data.groups]


class Order:
    """Every row of a run, in order, epoch after epoch; the same in every process.

    Args:
        epochs: passes over the data, instead of `steps`; what is left of the last step is filled from the next pass.
        weights: times a pass shows a source, source/style or source/style/language; 1 where nothing is said.

    Attributes:
        steps: how many there are.
        targets: learned tokens of each step, shape (steps,).
        tokens: tokens of each step, padding not counted, shape (steps,).
        most_examples: the largest number of examples in any row.

    Raises:
        InputError: the data do not fill the steps and may not be repeated, no example fits a row, or `weights` name
            what the data do not hold.
    """

    def __init__(
        self,
        data: Rendered,
        *,
        steps: int = 0,
        epochs: float | None = None,
        batch_rows: int,
        row_tokens: int,
        seed: int = 0,
        buffer: int = 256,
        repeat: bool = False,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.data, self.batch_rows, self.row_tokens = data, batch_rows, row_tokens
        shown = example_weights(data, weights) if weights else None
        self.plans: list[Plan] = []
        if epochs is not None:
            repeat = True
            for epoch in range(math.ceil(epochs)):
                self.plans.append(plan(data.lengths, row_tokens, seed=seed, epoch=epoch, buffer=buffer, weights=shown))
            rows = [p.rows for p in self.plans]
            part = epochs - (len(rows) - 1)  # of the last pass
            steps = max(1, -(-(sum(rows[:-1]) + math.ceil(part * rows[-1])) // batch_rows))
        self.steps = steps
        needed = steps * batch_rows
        while (have := sum(p.rows for p in self.plans)) < needed:
            if self.plans and not repeat:
                raise InputError(
                    f"the data fill {have} rows of {row_tokens} tokens once, enough for {have // batch_rows} steps of "
                    f"{batch_rows} rows; {steps} steps need {needed}. Pass --repeat to go over them again, or fewer "
                    "--steps or --batch-rows"
                )
            epoch = len(self.plans)
            self.plans.append(plan(data.lengths, row_tokens, seed=seed, epoch=epoch, buffer=buffer, weights=shown))
            if not self.plans[-1].rows:
                raise InputError(f"no example fits a row of {row_tokens} tokens: raise --row-tokens")
        self._rows = [(p, index) for p in self.plans for index in range(p.rows)][:needed]
        self._squares: dict[int | None, NDArray[np.int64]] = {}
        self.targets, self.tokens = self._by_step(data.targets), self._by_step(data.lengths)
        self.most_examples = max(int(np.diff(p.starts).max()) for p in self.plans)

    def _by_step(self, column: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sums over the examples of each step of a number that each example has, shape (steps,)."""
        rows = np.concatenate([np.add.reduceat(column[p.documents], p.starts[:-1]) for p in self.plans])
        sums = rows[: self.steps * self.batch_rows].reshape(self.steps, self.batch_rows).sum(axis=1)
        return np.asarray(sums, dtype=np.int64)

    def squares_within(self, window: int | None) -> NDArray[np.int64]:
        """Twice the pairs of tokens that see each other, of each step, shape (steps,): what attention costs.

        A token sees `window` tokens before it, all of its example where that is None: of L x L pairs, those that are
        further apart, (L - window) x (L - window), are not computed.
        """
        if window not in self._squares:
            lengths = self.data.lengths
            unseen = 0 if window is None else np.maximum(lengths - window, 0) ** 2
            self._squares[window] = self._by_step(lengths**2 - unseen)
        return self._squares[window]

    def group_targets(self, step: int) -> NDArray[np.int64]:
        """Targets of a step by group, shape (groups,)."""
        rows = self._rows[step * self.batch_rows : (step + 1) * self.batch_rows]
        seen = np.concatenate([p.row(i) for p, i in rows])
        counts = np.bincount(self.data.groups[seen], self.data.targets[seen], minlength=len(self.data.names))
        return counts.astype(np.int64)

    def times_seen(self) -> dict[str, float]:
        """How often the run sees the examples of each source, on average."""
        seen = np.bincount(np.concatenate([p.row(i) for p, i in self._rows]), minlength=len(self.data.lengths))
        sources = np.array([name[0] for name in self.data.names])[self.data.groups]
        return {str(source): float(seen[sources == source].mean()) for source in np.unique(sources)}

    def micro_batches(
        self, step: int, *, rank: int = 0, world_size: int = 1, micro_rows: int = 1, device: torch.device | str = "cpu"
    ) -> Iterator[MicroBatch]:
        """What one process computes in a step: rows rank::world_size, by `micro_rows`.

        Every process gets the same number of micro-batches, the last ones empty if need be: the others would wait
        for it in a collective for ever. Every micro-batch has `micro_rows` rows, the last ones empty if need be: a
        layer that meets a second shape is compiled again, for sizes that are not known, and is slower from then on.
        """
        rows = self._rows[step * self.batch_rows : (step + 1) * self.batch_rows]
        each = -(-self.batch_rows // world_size)
        mine: list[NDArray[np.int64]] = [p.row(i) for p, i in rows[rank::world_size]]
        mine += [np.array([], dtype=np.int64)] * (-(-each // micro_rows) * micro_rows - len(mine))
        for at in range(0, len(mine), micro_rows):
            yield self.micro_batch(mine[at : at + micro_rows], micro_rows, torch.device(device))

    def micro_batch(self, rows: Sequence[NDArray[np.int64]], micro_rows: int, device: torch.device) -> MicroBatch:
        """Rows of example numbers as tensors on `device`, shaped for `micro_rows` rows."""
        filled = [fill_row([self.data.example(int(i)) for i in row], self.row_tokens) for row in rows]
        tokens, targets, positions = (
            np.concatenate([getattr(row, name) for row in filled]) for name in ("tokens", "targets", "positions")
        )
        # An example begins where positions are 0. The number of borders is the same in every micro-batch, so that
        # a compiled layer sees one shape; those left over repeat the end.
        borders = np.full(micro_rows * (self.most_examples + 1) + 1, len(tokens), dtype=np.int32)
        begins = np.flatnonzero(positions == 0)
        borders[: len(begins)] = begins
        where = np.flatnonzero(targets != IGNORED)
        owners = np.repeat(
            np.concatenate([self.data.groups[row] for row in rows]),
            np.concatenate([self.data.targets[row] for row in rows]),
        )
        arrays = (tokens[None], positions[None], borders, where, targets[where], owners)
        return MicroBatch(*(torch.from_numpy(np.ascontiguousarray(a)).to(device, non_blocking=True) for a in arrays))
