"""A full disk, said in one line. What libraries raise when a write fails differs, and some keep no errno."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException

from sandbox.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PROBE_BYTES = 1 << 20


@contextmanager
def full_disk_in_one_line(out: Path, checkpoints: Path) -> Iterator[None]:
    """Turn whatever the block raises because nothing more can be written into `out` into one message.

    Raises:
        InputError: it failed and the disk is full, or a limit on files or a quota is reached; says from where the run
            goes on. Every other failure passes.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, CheckpointException) as error:
        if not (_says_full(error) or _is_full(out)):
            raise
        from trainer.checkpoint import complete

        whole = [path.name for path in complete(checkpoints)]
        kept = f"{whole[-1]} is whole, and the run goes on from it" if whole else "no checkpoint was written yet"
        free = shutil.disk_usage(out).free / 2**20
        raise InputError(
            f"{out} cannot be written any more: the disk is full ({free:.0f} MiB free), or a quota or a limit on the "
            f"size of files is reached. {kept}: make room, or lower --keep, and run the same command again"
        ) from None


def _says_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, CheckpointException):
            return any(_says_full(failure[0]) for failure in error.failures.values())
        error = error.__cause__ or error.__context__
    return False


def _is_full(out: Path) -> bool:
    """Whether another MiB cannot be written: torch and numpy raise errors that do not say why a write failed."""
    try:
        with tempfile.TemporaryFile(dir=out) as probe:
            probe.write(b"\0" * _PROBE_BYTES)
    except OSError as error:
        return error.errno in _FULL
    return False
