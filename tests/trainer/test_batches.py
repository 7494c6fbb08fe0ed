from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sandbox.errors import InputError
from trainer.batches import IGNORED, Order, fill_row
from trainer.render import Rendered, find_train_files, render


@pytest.fixture(scope="module")
def data(mixture: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return render(find_train_files(mixture), tokenizer_folder, tmp_path_factory.mktemp("cache"), quiet=True)


def test_a_row_teaches_the_next_token_of_the_same_example_only() -> None:
    one = (np.array([11, 12, 13], dtype=np.uint32), np.array([False, True, True]))
    two = (np.array([21, 22, 23, 24], dtype=np.uint32), np.array([True, True, False, True]))
    row = fill_row([one, two], 9)
    assert row.tokens.tolist() == [11, 12, 13, 21, 22, 23, 24, 0, 0]
    # 13 does not teach 21, though 21 is learned: it belongs to another example.
    assert row.targets.tolist() == [12, 13, IGNORED, 22, IGNORED, 24, IGNORED, IGNORED, IGNORED]
    assert row.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1]
    assert row.segments.tolist() == [1, 1, 1, 2, 2, 2, 2, 0, 0]


def make_order(data: Rendered, steps: int = 4, batch_rows: int = 6, repeat: bool = True) -> Order:
    return Order(data, steps=steps, batch_rows=batch_rows, row_tokens=256, repeat=repeat)


@pytest.mark.parametrize("micro_rows", [1, 2, 4])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_all_processes_together_see_each_row_of_a_step_once(data: Rendered, world_size: int, micro_rows: int) -> None:
    order = make_order(data)
    for step in range(4):
        each = [
            list(order.micro_batches(step, rank=rank, world_size=world_size, micro_rows=micro_rows))
            for rank in range(world_size)
        ]
        assert len({len(batches) for batches in each}) == 1, "a process with fewer would leave the others waiting"
        batches = [batch for per_process in each for batch in per_process]
        labels = torch.cat([batch.labels_N for batch in batches])
        assert len(labels) == order.targets[step]
        counts = torch.bincount(torch.cat([b.groups_N for b in batches]), minlength=len(data.names))
        assert counts.tolist() == order.group_targets(step).tolist()
        alone = torch.cat([batch.labels_N for batch in order.micro_batches(step)])
        assert labels.sort().values.tolist() == alone.sort().values.tolist()


def test_every_micro_batch_has_the_same_shapes_where_layers_see_them(data: Rendered) -> None:
    order = make_order(data)
    batches = [b for step in range(4) for b in order.micro_batches(step, world_size=4, rank=3, micro_rows=2)]
    assert {tuple(batch.tokens_1T.shape) for batch in batches} == {(1, 512)}
    assert len({tuple(batch.borders.shape) for batch in batches}) == 1
    for batch in batches:
        lengths = batch.borders.diff()
        assert lengths.sum() == 512
        starts = batch.borders[:-1][lengths > 0]
        assert (batch.positions_1T[0] == 0).nonzero()[:, 0].tolist() == starts.tolist()


def test_groups_name_the_example_that_a_target_belongs_to(data: Rendered) -> None:
    order = make_order(data)
    row = order.plans[0].row(0)
    batch = order.micro_batch([row], 1, torch.device("cpu"))
    expected = [int(data.groups[i]) for i in row for _ in range(int(data.targets[i]))]
    assert batch.groups_N.tolist() == expected


def test_more_steps_than_data_need_leave_to_repeat(data: Rendered) -> None:
    once = make_order(data, steps=1, batch_rows=2).plans[0].rows
    with pytest.raises(InputError, match=rf"fill {once} rows.*enough for {once // 6} steps.*--repeat"):
        make_order(data, steps=once, repeat=False)
    seen = make_order(data, steps=once, batch_rows=3).times_seen()
    assert seen["sums"] == pytest.approx(3, abs=0.2)


def test_a_longer_run_begins_with_the_rows_of_a_shorter_one(data: Rendered) -> None:
    short, long = make_order(data, steps=3), make_order(data, steps=30)
    for step in range(3):
        one, other = (next(order.micro_batches(step, micro_rows=6)) for order in (short, long))
        assert torch.equal(one.tokens_1T, other.tokens_1T)


def test_rows_too_short_for_every_example_are_refused(data: Rendered) -> None:
    with pytest.raises(InputError, match="no example fits"):
        Order(data, steps=1, batch_rows=1, row_tokens=4)
