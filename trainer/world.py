"""The processes of a run: one, or those that `torchrun` started, on CPUs (gloo) or GPUs (nccl)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
import transformers
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from sandbox.errors import InputError
from trainer.config import TrainConfig

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Where this process stands among all of them."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh

    @property
    def leads(self) -> bool:
        """True in the one process that writes and prints."""
        return self.rank == 0


def first(world: World, work: Callable[[], T]) -> T | None:
    """Do `work` in the first process while the others wait; what it returns there, and None in the others.

    Raises:
        InputError: `work` raised one; in every process, so that none waits for ever or ends in a traceback.
    """
    result: T | None = None
    message: list[str | None] = [None]
    if world.leads:
        try:
            result = work()
        except InputError as error:
            message = [str(error)]
    dist.broadcast_object_list(message, device=torch.device("cpu"))
    if message[0] is not None:
        raise InputError(message[0])
    return result


def add_in_one_order() -> None:
    """Have a GPU give the same bits each time, from before `join` on, for the rest of the process.

    Otherwise the backward passes of attention and embedding add their parts in the order in which these happen to end.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # one of the two sizes of workspace that promise it
    torch.use_deterministic_algorithms(True)
    # It would fill what nobody has written yet, to show who reads it: here nobody does.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def quiet_and_threads(config: TrainConfig) -> None:
    """Keep transformers from drawing bars into logs, and torch to the CPU threads that were asked for."""
    transformers.utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    if config.threads is not None:
        torch.set_num_threads(config.threads)


@contextmanager
def join() -> Iterator[World]:
    """The process group, for as long as the block lasts. Without torchrun it has one member."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if cuda:
        # Read at the first allocation. Shards, gathered layers and their gradients come in few, large, unequal sizes:
        # in fixed segments gigabytes would lie between them, unusable.
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
        torch.cuda.set_device(device)
    # An hour: the others wait while the first one tokenises. Both backends: objects travel over gloo.
    backend, patience = "cpu:gloo,cuda:nccl" if cuda else "gloo", timedelta(hours=1)
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=patience)
    else:
        dist.init_process_group(backend, timeout=patience, store=HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        yield World(dist.get_rank(), dist.get_world_size(), device, mesh)
    finally:
        dist.destroy_process_group()
