"""What /proc says of processes: which there are below one, and what they use where no control group counts it.

A program chooses the names in there (its own, those of the files it maps), so what is read is bytes of any kind, and
bounded. Memory looked at so is coarser than a control group: what is allocated and freed between two looks is not
seen, and the kill comes a look late. The per-process limit on data (`Confinement.data_bytes`) stands behind it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Collection, Iterator

from sandbox.jail import sockets

MOST_BYTES = 4 << 20  # of one file: 20,000 mappings fit; a program may make more, and longer names
LOOK_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_FEW_FILES = 16
_USUAL_TABLES = 1 << 20  # bytes; a warm zygote has 0.5 MiB
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_KIB = re.compile(r"^(\w+):\s+(\d+) kB", re.MULTILINE)


def _tables(status: dict[str, int]) -> int:
    """A process's page tables, beyond what every program has, in bytes."""
    return max(status.get("VmPTE", 0) - _USUAL_TABLES, 0)


def _anonymous(status: dict[str, int]) -> int:
    """A process's own memory in bytes; gVisor does not tell it from what is read from files."""
    return status.get("RssAnon", status.get("VmRSS", 0))


class Watch:
    """Looks at the descendants of this process, and of its zygote, by way of a descriptor of /proc."""

    def __init__(self, proc: int) -> None:
        self._proc = proc
        self.self_pid = int(os.readlink("self", dir_fd=proc))  # as the owner of that /proc numbers it
        self.inherited = _anonymous(self._fields(self.self_pid, "status"))

    def read(self, path: str) -> str:
        """A file of /proc, a character a byte: names in it may be in no encoding at all.

        Raises:
            OSError: there is none, or it is longer than `MOST_BYTES`.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            content = b""
            while more := os.read(descriptor, 1 << 16):
                content += more
                if len(content) > MOST_BYTES:
                    raise OSError(errno.EFBIG, f"/proc/{path} is longer than {MOST_BYTES} bytes")
        finally:
            os.close(descriptor)
        return content.decode("latin-1")

    def _fields(self, pid: int, name: str) -> dict[str, int]:
        with contextlib.suppress(OSError):  # it ended meanwhile
            return {key: int(kib) * 1024 for key, kib in _KIB.findall(self.read(f"{pid}/{name}"))}
        return {}

    def names(self, path: str) -> list[str]:
        folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            return os.listdir(folder)
        finally:
            os.close(folder)

    def children(self, pid: int) -> list[int]:
        found: list[int] = []
        with contextlib.suppress(OSError):
            for task in self.names(f"{pid}/task"):
                with contextlib.suppress(OSError):
                    found.extend(int(child) for child in self.read(f"{pid}/task/{task}/children").split())
        return found

    def signals_its_end(self, pid: int) -> bool:
        """Whether the process's parent will hear of its end, as of a usual child's; False if it is gone."""
        with contextlib.suppress(OSError):
            return self._fields_of_stat(pid)[38] != "0"
        return False

    def _fields_of_stat(self, pid: int) -> list[str]:
        """As proc(5) counts them, from 1; the first two stand empty: the name may hold anything."""
        return ["", "", "", *self.read(f"{pid}/stat").rpartition(")")[2].split()]

    def in_namespaces(self, pid: int) -> list[int]:
        """What the process is called from that /proc inwards, one number a nested namespace; empty if it is gone.

        gVisor does not say. It is used where no namespaces are nested: then the one number is the only one.
        """
        with contextlib.suppress(OSError):
            found = re.search(r"^NSpid:\s+(.*)$", self.read(f"{pid}/status"), re.MULTILINE)
            return [int(number) for number in found[1].split()] if found else [pid]
        return []

    def number_of(self, pid: int, candidates: list[int]) -> int | None:
        """Which of `candidates`, numbered as in that /proc, is the process that this one knows as `pid`."""
        own_level = len(self.in_namespaces(self.self_pid)) - 1
        for number in candidates:
            if self.in_namespaces(number)[own_level : own_level + 1] == [pid]:
                return number
        return None

    def family(self, *roots: int, without: Collection[int] = ()) -> list[int]:
        """`roots` and all their descendants, each once, but for those in `without` and what descends from them."""
        found: dict[int, None] = {}
        todo = list(roots)
        while todo:
            if (pid := todo.pop()) not in found:  # a branch's process descends from its init: both are roots
                found[pid] = None
                todo.extend(child for child in self.children(pid) if child not in without)
        return list(found)

    def may_compute(self, pid: int) -> bool:
        """Whether the process is neither stopped nor dead."""
        with contextlib.suppress(OSError):
            return self._fields_of_stat(pid)[3] not in "TtZX"
        return False

    def own_cpu_seconds(self, pid: int) -> float:
        """CPU time of the process alone, to 10 ms."""
        with contextlib.suppress(OSError):
            return sum(map(int, self._fields_of_stat(pid)[14:16])) / _TICKS
        return 0.0

    def cpu_seconds(self, pids: list[int]) -> float:
        """CPU time of these processes and of those of their children that are waited for."""
        ticks = 0
        for pid in pids:
            with contextlib.suppress(OSError):
                ticks += sum(map(int, self._fields_of_stat(pid)[14:18]))
        return ticks / _TICKS

    def in_use(self, pids: list[int], inherited: int) -> int:
        """Memory of these processes beyond what each has from its zygote; pages two of them share count twice."""
        total = self.in_sockets(pids)
        for pid in pids:
            fields = self._fields(pid, "status")
            total += max(_anonymous(fields) - inherited, 0) + fields.get("RssShmem", 0) + _tables(fields)
        return total

    def in_use_exactly(self, pids: list[int], inherited: int) -> int:
        """The same with shared pages counted once; slow, since the kernel walks every page.

        A process that may not be looked into, another user's in a plain pod, counts as `in_use` has it.
        """
        total = self.in_sockets(pids)
        for pid in pids:
            status = self._fields(pid, "status")
            if fields := self._fields(pid, "smaps_rollup"):
                total += fields.get("Pss_Anon", 0) + fields.get("Pss_Shmem", 0) + _tables(status)
            else:
                total += max(_anonymous(status) - inherited, 0) + status.get("RssShmem", 0) + _tables(status)
        return total

    def in_sockets(self, pids: list[int]) -> int:
        """Bytes that lie in the sockets of these processes; of a process with few open files it is not asked.

        Another user's in a plain pod may not be asked, and what lies in sockets that are themselves on their way from
        one process to another belongs to none.
        """
        inodes: set[int] = set()
        for pid in pids:
            with contextlib.suppress(OSError):
                if len(names := self.names(f"{pid}/fd")) > _FEW_FILES:
                    inodes.update(self._sockets(pid, names))
        if not inodes:
            return 0
        held = sockets.buffered()
        return sockets.full(inodes) if held is None else sum(held.get(inode, 0) for inode in inodes)

    def _sockets(self, pid: int, names: list[str]) -> Iterator[int]:
        for name in names:
            with contextlib.suppress(OSError):  # closed meanwhile
                if found := _SOCKET.fullmatch(os.readlink(f"{pid}/fd/{name}", dir_fd=self._proc)):
                    yield int(found[1])
