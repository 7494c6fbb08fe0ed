"""Memory and process limits for all processes of a run together, by control groups, version 1 or 2.

One group a slot and one a session, below one folder an engine. A slot's group is used again and again: processes
inherit it by fork, because moving a process costs a global lock. Limits are absolute: a run, or a session in all its
cells, may use so much, whatever was before. All files are reached through descriptors opened before the root file
system is changed.

Version 2 has one hierarchy and needs a delegated folder (systemd: `Delegate=yes`); version 1 has one a controller.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/sys/fs/cgroup")
_PREFIX = "soroban-"

_UNCOUNTED_BYTES = 16 << 20  # a group's peak is kept so far below its limit at most: pages are charged by the batch


@dataclass(frozen=True)
class Files:
    """Names of the same things in the two versions; the memory limit files of v2 also cap swap."""

    memory_limit: str
    memory_usage: str
    memory_peak: str
    memory_events: str
    swap_limit: str
    reclaim: str


V1 = Files("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control",
           "memory.memsw.limit_in_bytes", "memory.force_empty")  # fmt: skip
V2 = Files("memory.max", "memory.current", "memory.peak", "memory.events", "memory.swap.max", "memory.reclaim")
# What a group may hold from earlier runs, file pages and the kernel's tables, before it is reclaimed: 5 ms, or more.
_LEFT_BYTES = 8 << 20
# Of `memory.stat`: what the kernel gives up before it ends a process. The last one only version 2 tells.
_RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")


def own_folders() -> dict[str, Path]:
    """Where this process's groups are: controller to folder, for memory and pids, of whichever version has them."""
    folders = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in ("memory", "pids"):
                folders[name] = _MOUNTS / name / path.lstrip("/")
        if not names and not folders:
            own = _MOUNTS / path.lstrip("/")
            with contextlib.suppress(FileNotFoundError):
                offered = (own / "cgroup.controllers").read_text().split()
                folders = {name: own for name in ("memory", "pids") if name in offered}
    return folders


def why_unusable() -> str | None:
    """None if this process can make groups that limit memory and processes; else what is missing."""
    folders = own_folders()
    missing = [name for name in ("memory", "pids") if name not in folders]
    if missing:
        return f"no cgroup controller for {' and '.join(missing)} here"
    for name, folder in folders.items():
        if not os.access(folder, os.W_OK):
            return f"{folder} is not writable"
        if (folder / "cgroup.controllers").exists() and name not in (
            enabled := (folder / "cgroup.subtree_control").read_text().split()
        ):
            return f"{folder}/cgroup.subtree_control enables {enabled or 'nothing'}, {name} is needed"
    return None


class Folder:
    """An engine's folder of groups, in every hierarchy that is used."""

    def __init__(self, name: str) -> None:
        """Make the folder; remove those whose engine died without doing so."""
        self.paths: dict[Path, None] = {}
        controllers: dict[str, Path] = {}
        for controller, own in own_folders().items():
            sweep(own)
            path = own / f"{_PREFIX}{name}"
            if path not in self.paths:
                path.mkdir()
                if (path / "cgroup.controllers").exists():
                    (path / "cgroup.subtree_control").write_text("+memory +pids")
            self.paths[path] = None
            controllers[controller] = path
        self.files = V2 if len(self.paths) == 1 else V1
        self.descriptors = {name: os.open(path, os.O_PATH) for name, path in controllers.items()}

    def group(self, name: str) -> Group:
        return Group(self.descriptors, self.files, name)

    def remove(self) -> None:
        """Remove the folder and all its groups, whose processes are gone."""
        for path in self.paths:
            _remove(path)


def sweep(own: Path) -> None:
    """Remove what engines that were killed have left behind; the name of a folder ends with its owner's pid."""
    for path in own.glob(_PREFIX + "*"):
        if not Path("/proc", path.name.removeprefix(_PREFIX)).exists():
            _remove(path)


def _remove(path: Path) -> None:
    for child in path.iterdir() if path.is_dir() else ():
        if child.is_dir():
            _remove(child)
    # Busy: its last process is still on its way out; gone: another engine swept it. The next sweep takes it.
    with contextlib.suppress(OSError):
        path.rmdir()


class Group:
    """One group, in each hierarchy. Counters are the kernel's since `begin`."""

    def __init__(self, folders: Mapping[str, int], files: Files, name: str) -> None:
        self._files = files
        self._name = name
        self._parents = set(folders.values()) if files is V1 else {folders["memory"]}
        self._open: dict[str, int] = {}
        for parent in self._parents:
            with contextlib.suppress(FileExistsError):  # a slot and its zygote share theirs
                os.mkdir(name, 0o755, dir_fd=parent)
        self._folders = {
            controller: os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=parent) for controller, parent in folders.items()
        }
        self._ours = self._least = self._limit = self._kills_before = 0  # bytes, bytes, bytes, a count
        self._our_processes = 0

    def take_stock(self) -> None:
        """Count as ours what is in it now, between two runs: zygotes, and what waits for a program.

        File pages that earlier runs have read are not: a run's limit would depend on them. They stay charged to the
        group until they are reclaimed, which is done when there are more than `_LEFT_BYTES`.
        """
        usage = self._number("memory", self._files.memory_usage)
        if usage > self._least + _LEFT_BYTES:
            usage = self._reclaim(usage)
            self._least = usage
        self._least = min(self._least, usage)
        self._ours = usage
        self._our_processes = self._number("pids", "pids.current")

    def _reclaim(self, usage: int) -> int:
        """Have the kernel give up what it can; how much is in use by processes, then."""
        # Not all could be given up, or, on version 2 before Linux 5.19, it cannot be asked for.
        with contextlib.suppress(OSError):
            self._write("memory", self._files.reclaim, usage if self._files is V2 else 0)
        with os.fdopen(os.open("memory.stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folders["memory"])) as file:
            lines = [line.split() for line in file]
        reclaimable = sum(int(value) for name, value in lines if name in _RECLAIMABLE)
        return max(self._number("memory", self._files.memory_usage) - reclaimable, 0)

    def begin(self, memory_bytes: int, processes: int) -> bool:
        """Allow so much beside what is ours; False if more is in use already. Of a session, cell after cell, in all."""
        self._kills_before = self._kills()
        self._limit = self._ours + memory_bytes
        try:
            self._limit_memory(self._limit)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EINVAL):  # the latter of v1's limit on memory and swap
                raise
            return False
        self._write("pids", "pids.max", self._our_processes + processes)
        with contextlib.suppress(
            OSError
        ):  # v2 before 6.12 cannot reset its peak: it is then the group's, not the run's
            self._write("memory", self._files.memory_peak, 0)
        return True

    def _limit_memory(self, limit: int) -> None:
        swap = 0 if self._files is V2 else limit
        try:
            self._write("memory", self._files.memory_limit, limit)
            self._write_if_there("memory", self._files.swap_limit, swap)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBUSY):
                raise
            # v1 wants memory + swap raised before memory, and the opposite on the way down.
            self._write_if_there("memory", self._files.swap_limit, swap)
            self._write("memory", self._files.memory_limit, limit)

    def memory_peak(self) -> int:
        return max(self._number("memory", self._files.memory_peak) - self._ours, 0)

    def memory_killed(self) -> bool:
        """Whether the kernel has killed a process for memory since `begin`, by this group's limit or by another."""
        return self._kills() > self._kills_before

    def limit_was_reached(self) -> bool:
        """Whether it was this group's own limit: what is above it, a container or the machine, can be full, too."""
        return self._number("memory", self._files.memory_peak) + _UNCOUNTED_BYTES >= self._limit

    def enter(self, pid: int) -> None:
        """Move a process of ours in; 0 is the caller."""
        self._our_processes += 1
        for controller in ("memory", "pids") if self._files is V1 else ("memory",):
            self._write(controller, "cgroup.procs", pid)

    def remove(self) -> bool:
        """Remove the group; False while the kernel still sees one of its processes, which are dead: ask again."""
        for parent in list(self._parents):
            try:
                os.rmdir(self._name, dir_fd=parent)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return False
                if error.errno != errno.ENOENT:
                    raise
            self._parents.discard(parent)
        for descriptor in (*self._open.values(), *self._folders.values()):
            os.close(descriptor)
        return True

    def _kills(self) -> int:
        for line in self._read("memory", self._files.memory_events).splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def _file(self, controller: str, name: str) -> int:
        if name not in self._open:
            folder = self._folders[controller]
            try:
                self._open[name] = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=folder)
            except PermissionError:
                self._open[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        return self._open[name]

    def _read(self, controller: str, name: str) -> str:
        return os.pread(self._file(controller, name), 4096, 0).decode()

    def _number(self, controller: str, name: str) -> int:
        return int(self._read(controller, name))

    def _write(self, controller: str, name: str, value: int) -> None:
        # Not through `_file`: some files, v1's event files and cgroup.procs among them, are opened to write only.
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._folders[controller])
        try:
            os.write(descriptor, str(value).encode())
        finally:
            os.close(descriptor)

    def _write_if_there(self, controller: str, name: str, value: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._write(controller, name, value)
