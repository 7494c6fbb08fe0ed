from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.plan import plan


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 70), max_size=200),
    room=st.integers(1, 64),
    buffer=st.integers(1, 20),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 3),
)
def test_every_example_that_fits_is_in_exactly_one_row_and_no_row_overflows(
    lengths: list[int], room: int, buffer: int, seed: int, epoch: int
) -> None:
    rows = plan(lengths, room, seed=seed, epoch=epoch, buffer=buffer)
    fitting = [index for index, length in enumerate(lengths) if 0 < length <= room]
    assert sorted(rows.documents.tolist()) == fitting
    assert all(0 < sum(lengths[i] for i in rows.row(r)) <= room for r in range(rows.rows))
    assert rows.tokens == sum(lengths[i] for i in fitting)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=300), st.integers(1, 50))
def test_any_two_neighbouring_rows_together_are_more_than_one_full_row(lengths: list[int], buffer: int) -> None:
    # Whatever begins the next row was waiting, or not yet read while the buffer was full of what did not fit either.
    rows = plan(lengths, 64, seed=0, epoch=0, buffer=buffer)
    sums = [sum(lengths[i] for i in rows.row(r)) for r in range(rows.rows)]
    assert all(a + lengths[rows.row(r + 1)[0]] > 64 for r, a in enumerate(sums[:-1]))


@pytest.mark.parametrize("mean", [164, 340, 676])
def test_waste_is_below_one_percent_where_next_fit_wastes_several(mean: int) -> None:
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(np.log(mean) - 0.32, 0.8, 20_000), 20, 4096).astype(np.int64)
    assert plan(lengths, 4096, seed=0, epoch=0, buffer=256).waste < 0.01


def test_each_epoch_and_seed_has_its_own_order_and_the_same_one_again() -> None:
    lengths = [7] * 1000
    orders = [plan(lengths, 64, seed=s, epoch=e, buffer=16).documents.tolist() for s, e in [(0, 0), (0, 1), (1, 0)]]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert plan(lengths, 64, seed=0, epoch=1, buffer=16).documents.tolist() == orders[1]


def test_no_example_waits_for_more_rows_than_the_buffer_holds() -> None:
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 64, 5000)
    order = np.random.default_rng((0, 0)).permutation(5000)
    rows = plan(lengths, 64, seed=0, epoch=0, buffer=32)
    row_of = np.empty(5000, dtype=np.int64)
    for r in range(rows.rows):
        row_of[rows.row(r)] = r
    arrived = np.maximum.accumulate(row_of[order])  # the row being filled when an example was read, at the latest
    assert (row_of[order] - np.concatenate([[0], arrived[:-1]]) <= 32).all()
