"""What processes on several nodes must share, proved at the start: the run's folders and the mixture."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch.distributed as dist

from sandbox.errors import InputError
from trainer.world import World

PATIENCE_SECONDS = 30.0  # how long a network file system may take to show a new file: NFS caches folders for up to 30 s


def check_shared(folders: Mapping[str, Path], hashes: Sequence[str], world: World) -> None:
    """Prove that every process sees what the first one writes, and that all have the same training files.

    Args:
        folders: by flag, folders that the first process writes to.
        hashes: of this process's training files.

    Raises:
        InputError: in every process; names the flag, the folder and the machines where something differs.
    """
    if world.size == 1:
        return
    name = [f".seen-by-all-{uuid.uuid4().hex}"]
    dist.broadcast_object_list(name)
    if world.leads:
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name[0]).touch()
    dist.barrier()
    until = time.monotonic() + PATIENCE_SECONDS
    unseen = [flag for flag, folder in folders.items() if not _seen(folder / name[0], until)]
    here = f"{socket.gethostname()} (process {world.rank})"
    found: list[tuple[str, list[str], list[str]]] = [("", [], [])] * world.size
    dist.all_gather_object(found, (here, unseen, list(hashes)))
    if world.leads:
        for folder in folders.values():
            (folder / name[0]).unlink(missing_ok=True)
    problems = []
    for flag, folder in folders.items():
        if blind := [place for place, missing, _ in found if flag in missing]:
            problems.append(
                f"{flag} {folder} is not the same folder on {', '.join(blind)} as on {found[0][0]}: it must lie on a "
                "file system that all nodes share"
            )
    if other := [place for place, _, theirs in found if theirs != found[0][2]]:
        problems.append(f"--data holds other training files on {', '.join(other)} than on {found[0][0]}")
    if problems:
        raise InputError("; ".join(problems))


def _seen(path: Path, until: float) -> bool:
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
        if path.parent.is_dir():
            os.listdir(path.parent)  # has NFS look again
    return True
