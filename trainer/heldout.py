"""Loss on examples that are not learned, while the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from dataset.files import read_raw_lines, sha256
from sandbox.errors import InputError
from trainer.batches import Order
from trainer.config import TrainConfig
from trainer.model import Learner
from trainer.plan import plan
from trainer.render import Rendered, TrainFiles, render
from trainer.world import World


def heldout_files(path: Path) -> TrainFiles:
    """The file that `--heldout` names, in the form in which the renderer takes training files.

    Raises:
        InputError: it is not there, or is empty.
    """
    if not path.is_file():
        raise InputError(f"--heldout {path} is not a file: expected JSON Lines of the form of the training files")
    rows = sum(1 for _ in read_raw_lines(path))
    if not rows:
        raise InputError(f"--heldout {path} is empty")
    return TrainFiles((path,), (sha256(path),), rows)


@dataclass(frozen=True)
class HeldOut:
    """Held-out examples in rows like those of the training; every row is looked at each time."""

    order: Order

    @torch.no_grad()
    def losses(self, learner: Learner, world: World, *, micro_rows: int) -> tuple[float, dict[str, float]]:
        """(loss, loss by source/style/language), means per target; called in every process."""
        order = self.order
        sums = torch.zeros(len(order.data.names), dtype=torch.float64, device=world.device)
        learner.eval()
        for batch in order.micro_batches(
            0, rank=world.rank, world_size=world.size, micro_rows=micro_rows, device=world.device
        ):
            sums.index_add_(0, batch.groups_N, learner(batch, order.row_tokens).double())
        learner.train()
        dist.all_reduce(sums)
        counts, found = order.group_targets(0), sums.cpu().numpy()
        by = {
            "/".join(name): float(loss / n) for name, loss, n in zip(order.data.names, found, counts, strict=True) if n
        }
        return float(found.sum() / counts.sum()), by


def read_heldout(config: TrainConfig, tokenizer_folder: Path, cache: Path, *, made: bool = False) -> HeldOut | None:
    """The held-out examples of a run, tokenised, or (`made`) as the first process has tokenised them; None if none.

    Raises:
        InputError: the file cannot be used, or none of its examples fits a row.
    """
    if config.heldout is None:
        return None
    data: Rendered = render(heldout_files(config.heldout), tokenizer_folder, cache, quiet=True, made=made)
    rows = plan(data.lengths, config.row_tokens, seed=0, epoch=0, buffer=config.pack_buffer).rows
    if not rows:
        raise InputError(f"no example of --heldout {config.heldout} fits a row of {config.row_tokens} tokens")
    return HeldOut(Order(data, steps=1, batch_rows=rows, row_tokens=config.row_tokens, buffer=config.pack_buffer))
