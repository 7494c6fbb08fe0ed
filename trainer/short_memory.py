"""Memory that ran out, said in one line with the flags that help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sandbox.errors import InputError
from trainer.config import TrainConfig


@contextmanager
def short_memory_in_one_line(config: TrainConfig) -> Iterator[None]:
    """Turn an allocation that failed in the block, on the device or the host, into one message.

    Raises:
        InputError: memory ran out. Every other failure passes.
    """
    try:
        yield
    except (MemoryError, Exception) as error:
        short = _short_of_memory(error)
        if short is None:
            raise
        where = "this process's host memory" if isinstance(short, MemoryError) else "the device"
        said = str(short).partition(" If reserved")[0].splitlines()
        raise InputError(
            f"out of memory on {where}{f' ({said[0]})' if said else ''}: {what_helps(config)}; "
            "run the same command again, it goes on from its last checkpoint"
        ) from None


def what_helps(config: TrainConfig) -> str:
    """The flags that lower the memory of a run with these settings, those that cost least first."""
    ways = []
    if config.micro_rows > 1:
        ways.append(f"lower --micro-rows (now {config.micro_rows})")
    if config.recompute != "full":
        ways.append(f"--recompute {'selective or full' if config.recompute == 'none' else 'full'}")
    ways.append("more processes (torchrun)")
    if config.state == "fp32":
        ways.append("--state sr (half the bytes a parameter)")
    if config.lora_rank is None:
        ways.append("--lora-rank 16")
    ways.append(f"shorter --row-tokens (now {config.row_tokens})")
    return ", ".join(ways)


def _short_of_memory(error: BaseException | None) -> BaseException | None:
    """The failed allocation behind `error`: a compiler may have wrapped it."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return error
        error = error.__cause__ or error.__context__
    return None
