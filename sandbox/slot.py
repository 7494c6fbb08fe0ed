"""One slot: makes the jails, has programs forked into them, keeps their time, and sees that nothing is left.

The engine sends what to run with the program's open files; the answer goes back when every process of the run is
gone. Clock, signals, exit code, CPU time and memory are read here, from the kernel, never from the program.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from sandbox import branch, wire
from sandbox.branch import Branch
from sandbox.errors import SandboxError, SandboxUnavailable, SessionLost
from sandbox.jail import cgroups, linux, namespaces, none, pod
from sandbox.jail.namespaces import Confinement, Jail
from sandbox.memory import LOOK_SECONDS, Watch
from sandbox.spawn import start

FIRST_UID, FIRST_SESSION_UID, SESSION_UIDS = 60_100, 61_000, 4_000
_CORES = os.cpu_count() or 1
_CPU_LOOK_SECONDS = 0.1
_OVERHEAD_BYTES = 256 << 20  # what a warm zygote has mapped to write, generously
_SPARE_FILE_BYTES = 64 << 20  # Limits.file_bytes' default: a spare jail of another size is of no use


@dataclass(frozen=True)
class Host:
    """What this engine found on its machine; shared by all its processes."""

    proc: int
    root: bool
    isolated: bool
    pod: bool
    groups: cgroups.Folder | None

    def enter_group(self, index: int) -> cgroups.Group | None:
        """Put the caller, and so all it will fork, into its slot's control group."""
        if self.groups is None:
            return None
        group = self.groups.group(f"slot{index}")
        group.enter(0)
        return group


@dataclass
class Cell:
    """What is being timed: a run, or one cell of a session."""

    name: str
    began: float
    cpu_before: float
    limits: dict[str, Any]
    why: str | None = None  # timeout or cancelled, once we have decided to end it


@dataclass
class Life:
    """A jailed program's process: a run, or a session between its opening and its end."""

    name: str
    jail: Jail | none.Folder | pod.Quarters | Branch
    group: cgroups.Group | None
    session: bool
    line: socket.socket | None = None
    pid: int = 0
    cell: Cell | None = None
    why_ended: str | None = None
    killed: bool = False  # by us
    warm: bool = False
    numbers: list[int] = field(default_factory=list)  # its process and its init, as /proc numbers them
    parent: Life | None = None  # of a forked session
    branches: int = 0  # live sessions whose namespaces are nested in this one's
    over: bool = False  # it has ended, but its namespaces hold its branches
    given_up_at: float = math.inf  # when to do without word of its end
    peak: int = 0  # where no control group counts

    def cpu_seconds(self) -> float:
        """CPU time of the program's process so far, from the kernel's clock for it."""
        with contextlib.suppress(OSError):
            seconds: float = time.clock_gettime((~self.pid << 3) | 2)
            return seconds
        return 0.0


def _depth(life: Life) -> int:
    """How many forks lie between a session and the one that was opened."""
    return 0 if life.parent is None else 1 + _depth(life.parent)


def _exit_status(word: bytes) -> int | None:
    """How a branch's init says that its program ended; it can lie about nothing but itself."""
    try:
        status = json.loads(word)["exited"]
        os.waitstatus_to_exitcode(status)
    except (ValueError, TypeError, OverflowError):
        return None
    return status if isinstance(status, int) else None


class Slot:
    def __init__(self, engine: socket.socket, index: int, host: Host) -> None:
        self._engine, self._index, self._host = engine, index, host
        self._forker = namespaces.Forker(host.proc)
        self._group = host.enter_group(index)
        self._zygote: socket.socket | None = None
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._lives: dict[str, Life] = {}
        self._sessions_opened = 0
        self._emptied: list[cgroups.Group] = []  # groups to be removed
        self._spare: Jail | none.Folder | pod.Quarters | None = None
        self._memory = Watch(host.proc)
        self._zygote_number = self._zygote_inherited = 0
        self._watch(engine.fileno(), self._on_engine)

    def _watch(self, descriptor: int, handler: Callable[[], None]) -> None:
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, select.POLLIN)

    def _unwatch(self, descriptor: int) -> None:
        del self._handlers[descriptor]
        self._poll.unregister(descriptor)

    def serve(self) -> NoReturn:
        """Work until the engine goes away; then end, and with this process every init of its jails."""
        self._prepare_spare()
        wire.send(self._engine, {"ready": "slot"})
        while True:
            for descriptor, _ in self._poll.poll(self._milliseconds_to_deadline()):
                if handler := self._handlers.get(descriptor):
                    handler()
            self._end_what_is_over_time()
            self._end_what_is_over_memory()
            self._emptied = [group for group in self._emptied if not group.remove()]

    # -- orders ------------------------------------------------------------------------------------------------

    def _on_engine(self) -> None:
        received = wire.receive(self._engine)
        if received is None:
            os._exit(0)
        message, descriptors = received
        {
            "zygote": self._new_zygote,
            "run": self._run,
            "open": self._open,
            "cell": self._cell,
            "cancel": self._cancel,
            "close": self._close,
            "fork": self._fork,
        }[message["op"]](message, descriptors)

    def _new_zygote(self, message: wire.Message, descriptors: list[int]) -> None:
        (descriptor,) = descriptors
        self._zygote = socket.socket(fileno=descriptor)
        self._watch(descriptor, self._on_zygote)

    def _run(self, message: wire.Message, descriptors: list[int]) -> None:
        try:
            life = self._begin(message, session=False)
        except OSError as error:
            self._refuse(message, descriptors, str(error))
            return
        life.cell = Cell(message["id"], time.monotonic(), 0.0, message["limits"])
        self._start(life, message, descriptors)

    def _open(self, message: wire.Message, descriptors: list[int]) -> None:
        try:
            life = self._begin(message, session=True)
        except OSError as error:
            self._refuse(message, descriptors, str(error))
            return
        life.line, theirs = wire.pair()
        self._watch(life.line.fileno(), partial(self._on_line, life))
        self._start(life, message, [theirs.detach()])

    def _refuse(self, message: wire.Message, descriptors: list[int], reason: str) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
        wire.send(self._engine, {"refused": message["id"], "reason": reason})

    def _begin(self, message: wire.Message, *, session: bool) -> Life:
        limits, group = message["limits"], self._group
        jail = self._jail(limits["file_bytes"], session=session)
        if group is not None:
            if session:
                assert self._host.groups is not None
                group = self._host.groups.group(f"session-{self._index}-{self._sessions_opened}")
            group.begin(limits["memory_bytes"], limits["processes"])
        life = Life(message["id"], jail, group, session, warm=message["warm"])
        self._lives[life.name] = life
        return life

    def _jail(self, file_bytes: int, *, session: bool) -> Jail | none.Folder | pod.Quarters:
        if not session and self._spare is not None and self._spare.file_bytes == file_bytes:
            jail, self._spare = self._spare, None
            return jail
        if not self._host.isolated and not self._host.pod:
            return none.Folder(file_bytes)
        if not self._host.root:
            uid, gid = os.geteuid(), os.getegid()
        elif session:
            self._sessions_opened += 1
            uid = gid = FIRST_SESSION_UID + (self._index * 64 + self._sessions_opened) % SESSION_UIDS
        else:
            uid = gid = FIRST_UID + self._index
        if self._host.pod:
            return pod.Quarters(uid, file_bytes)
        return Jail(self._forker, uid=uid, gid=gid, userns=not self._host.root, file_bytes=file_bytes)

    def _prepare_spare(self) -> None:
        """Make the next run's jail while nobody waits for it."""
        if self._spare is None and not self._host.pod:  # there, one folder a user is all there is
            with contextlib.suppress(OSError):  # the run that needs one will say why it cannot be had
                self._spare = self._jail(_SPARE_FILE_BYTES, session=False)

    def _confinement(self, life: Life, limits: dict[str, Any]) -> Confinement:
        jail = life.jail
        return Confinement(
            uid=jail.uid,
            gid=jail.gid,
            userns=jail.userns,
            session=life.session,
            cpu_seconds=limits["cpu_seconds"],
            file_bytes=limits["file_bytes"],
            # The jail's init is one of them. Without isolation the kernel would count all that this user runs.
            processes=None if life.group or not (self._host.isolated or self._host.pod) else limits["processes"] + 1,
            data_bytes=None if life.group else 2 * limits["memory_bytes"] + _OVERHEAD_BYTES,
            isolated=self._host.isolated,
            pod=self._host.pod,
        )

    def _start(self, life: Life, message: wire.Message, files: list[int]) -> None:
        order = {"id": life.name, "confinement": self._confinement(life, message["limits"]).to_json()}
        jail = os.dup(life.jail.pidfd)
        if not message["warm"]:
            pid = start(self._forker, order, [jail, *files])
            pidfd = linux.exit_event(pid)
            self._watch(pidfd, partial(self._on_child, life, pidfd))
            self._started(life, pid)
            return
        assert self._zygote is not None, "the engine sends warm runs to slots that have a zygote"
        try:
            wire.send(self._zygote, order, [jail, *files])
        except OSError:
            self._end(life, None, 0.0, 0, lost="its zygote died")
        for descriptor in (jail, *files):
            os.close(descriptor)

    def _started(self, life: Life, pid: int) -> None:
        life.pid = pid
        life.jail.hold(pid)
        if life.session:
            if life.group is not None:
                life.group.enter(pid)  # it waits for its first cell: nothing is charged to the slot meanwhile
            wire.send(self._engine, {"opened": life.name})

    def _cell(self, message: wire.Message, descriptors: list[int]) -> None:
        life = self._lives.get(message["session"])
        if life is None or life.line is None:
            for descriptor in descriptors:
                os.close(descriptor)
            wire.send(self._engine, {"lost": message["id"]})
            return
        life.cell = Cell(message["id"], time.monotonic(), life.cpu_seconds(), message["limits"])
        if life.group is not None:
            life.group.begin(message["limits"]["memory_bytes"], message["limits"]["processes"])
        with contextlib.suppress(OSError):  # its end is on the way to us
            wire.send(life.line, {"id": message["id"]}, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _fork(self, message: wire.Message, _: list[int]) -> None:
        try:
            life = self._branch(message["id"], message["session"])
        except SandboxError as error:
            wire.send(self._engine, {"unforked": message["id"], "kind": type(error).__name__, "reason": str(error)})
        else:
            wire.send(self._engine, {"opened": life.name})

    def _branch(self, name: str, of: str) -> Life:
        parent = self._lives.get(of)
        if parent is None or parent.line is None:
            raise SessionLost("the session ended before it could be forked")
        if not isinstance(parent.jail, (Jail, Branch)):
            raise SandboxUnavailable("sessions can be forked in the jail only: its namespaces keep the two apart")
        self._family(parent)
        branch.refuse_if_entangled(self._memory, parent.numbers[0])
        line, init, program = branch.ask_for_branch(parent.line)
        jail = Branch(init, parent.jail.uid, parent.jail.gid, parent.jail.file_bytes)
        life = Life(name, jail, None, True, line, program, warm=parent.warm, parent=parent)
        try:
            family = self._family(parent)
            number = self._memory.number_of(init, family)
            if number is None:
                raise SandboxUnavailable("the forked session ended at once")
            branch.furnish(jail, parent.jail, number, self._host.proc)
            life.numbers = [found for found in (self._memory.number_of(program, family), number) if found]
            if self._host.groups is not None:
                self._sessions_opened += 1
                life.group = self._host.groups.group(f"session-{self._index}-{self._sessions_opened}")
                life.group.enter(init)
                life.group.enter(program)
            wire.send(line, {"go": True})
        except (SandboxError, OSError):
            line.close()
            jail.end()
            raise
        parent.branches += 1
        self._lives[name] = life
        self._watch(line.fileno(), partial(self._on_line, life))
        return life

    def _cancel(self, message: wire.Message, _: list[int]) -> None:
        for life in self._lives.values():
            if life.cell is not None and life.cell.name == message["id"]:
                life.cell.why = life.cell.why or "cancelled"
                self._kill(life)

    def _close(self, message: wire.Message, _: list[int]) -> None:
        if life := self._lives.get(message["session"]):
            life.why_ended = message["reason"]
            self._kill(life)

    # -- time --------------------------------------------------------------------------------------------------

    def _milliseconds_to_deadline(self) -> float | None:
        now = time.monotonic()
        waits = [self._seconds_left(life, life.cell, now) for life in self._lives.values() if life.cell]
        waits += [0.05 for _ in self._emptied]
        waits += [life.given_up_at - now for life in self._lives.values() if life.given_up_at < math.inf]
        waits += [LOOK_SECONDS for life in self._lives.values() if life.group is None and life.cell]
        return max(min(waits), 0.0) * 1000 if waits else None

    @staticmethod
    def _seconds_left(life: Life, cell: Cell, now: float) -> float:
        """Until the wall clock or, at the earliest, the CPU clock runs out."""
        if cell.why:
            return 3600.0  # killed already; its end will wake us
        wall: float = cell.began + cell.limits["wall_seconds"] - now
        cpu: float = cell.limits["cpu_seconds"] - (life.cpu_seconds() - cell.cpu_before)
        together = cell.began + cell.limits["cpu_seconds"] / _CORES - now
        return min(wall, max(cpu, 0.0), together if together > 0 else _CPU_LOOK_SECONDS)

    def _end_what_is_over_time(self) -> None:
        now = time.monotonic()
        for life in list(self._lives.values()):
            if now > life.given_up_at:
                self._end(life, None, life.cpu_seconds(), 0)
                continue
            cell = life.cell
            if cell is None or cell.why:
                continue
            over = self._seconds_left(life, cell, now) <= 0
            # Only from here on can several processes have used up together what one may use.
            if not over and life.pid and now - cell.began > cell.limits["cpu_seconds"] / _CORES:
                used = self._memory.cpu_seconds(self._family(life)) - cell.cpu_before
                over = used > cell.limits["cpu_seconds"]
            if over:
                cell.why = "timeout"
                self._kill(life)

    def _family(self, life: Life) -> list[int]:
        """All processes of a run, as /proc numbers them: its first one, its init, and what descends from either."""
        if not life.numbers:
            parents = (self._memory.self_pid, self._zygote_number)
            children = [child for parent in parents for child in self._memory.children(parent)]
            found = [self._memory.number_of(pid, children) for pid in (life.pid, life.jail.pid) if pid]
            life.numbers = [number for number in found if number]
        return self._memory.family(*life.numbers)

    def _end_what_is_over_memory(self) -> None:
        """Where no control group does it."""
        for life in list(self._lives.values()):
            if life.group is not None or not life.cell or life.cell.why or not life.pid:
                continue
            family = self._family(life)
            in_use = self._memory.in_use(family, self._zygote_inherited if life.warm else self._memory.inherited)
            life.peak = max(life.peak, in_use)
            most = life.cell.limits["memory_bytes"]
            if in_use > most and (len(family) < 3 or self._memory.in_use_exactly(family) > most):
                life.cell.why = "memory_limit"
                self._kill(life)

    def _kill(self, life: Life) -> None:
        """Order the end of a life. Its branches live on, below its init, until they end themselves."""
        life.killed = True
        if not life.branches:
            life.jail.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(life.pid, signal.SIGKILL)
        if isinstance(life.jail, Branch):  # its init will tell; what it is, the session decided
            life.given_up_at = time.monotonic() + 1.0

    # -- ends --------------------------------------------------------------------------------------------------

    def _on_child(self, life: Life, pidfd: int) -> None:
        self._unwatch(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(life.pid, 0)
        self._end(life, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

    def _on_zygote(self) -> None:
        assert self._zygote is not None
        received = wire.receive(self._zygote)
        if received is None:
            self._unwatch(self._zygote.fileno())
            self._zygote = None
            for life in list(self._lives.values()):
                self._end(life, None, 0.0, 0, lost="its zygote died")
            wire.send(self._engine, {"zygote": "died"})
            return
        message, _ = received
        started, exited = self._lives.get(message.get("started", "")), self._lives.get(message.get("exited", ""))
        if started is not None:
            self._started(started, message["pid"])
        elif exited is not None:
            self._end(exited, message["status"], message["cpu"], message["rss"])
        elif "zygote" in message:
            self._zygote_number, self._zygote_inherited = message["zygote"], message["inherited"]

    def _on_line(self, life: Life) -> None:
        """The session says that its cell is done. Any word it sends means only this."""
        assert life.line is not None
        try:
            word = life.line.recv(wire.MOST_BYTES)
        except OSError:
            word = b""
        if isinstance(life.jail, Branch) and word.startswith(b'{"exited"'):
            self._end(life, _exit_status(word), life.cpu_seconds(), 0)
            return
        if not word:  # closed by the program: it can never answer again
            self._unwatch(life.line.fileno())
            self._kill(life)
            if isinstance(life.jail, Branch):  # no zygote will tell us
                self._end(life, None, life.cpu_seconds(), 0)
            return
        if cell := life.cell:
            life.cell = None
            cpu = life.cpu_seconds() - cell.cpu_before
            self._tell_done(life, cell, None, cpu, life.group.memory_peak() if life.group else life.peak, alive=True)

    def _end(self, life: Life, status: int | None, cpu: float, rss: int, lost: str | None = None) -> None:
        """Take a life out of the world and tell the engine. `status` is None if nobody could see how it ended."""
        del self._lives[life.name]
        work = os.dup(life.jail.work)
        killed_for_memory = life.group is not None and life.group.memory_killed()
        ours = killed_for_memory or lost or life.killed or life.why_ended or (life.cell and life.cell.why)
        # No program can kill its init: somebody else did, and the program died with it.
        if status == signal.SIGKILL and not ours and isinstance(life.jail, Jail) and life.jail.dies():
            lost = "its jail was ended from outside"
        self._release(life)
        if life.line is not None:
            with contextlib.suppress(KeyError):
                self._unwatch(life.line.fileno())
            life.line.close()
        inherited = self._zygote_inherited if life.warm else self._memory.inherited
        peak = life.group.memory_peak() if life.group is not None else max(life.peak, rss - inherited, 0)
        if life.cell is not None:
            if killed_for_memory:
                life.cell.why = "memory_limit"
            if lost and not killed_for_memory:
                wire.send(self._engine, {"failed": life.cell.name, "reason": lost})
            else:
                cpu -= life.cell.cpu_before
                self._tell_done(life, life.cell, status, cpu, peak, alive=False, work=work)
        if life.session:
            reason = life.why_ended or lost or ("memory_limit" if killed_for_memory else "its process ended")
            wire.send(self._engine, {"ended": life.name, "reason": reason})
            if life.group is not None:
                self._emptied.append(life.group)
        os.close(work)
        if not life.session:
            self._prepare_spare()

    def _release(self, life: Life) -> None:
        """End a life's processes and its jail; if live branches are nested in that, keep its empty shell for them."""
        life.over = True
        if life.branches and self._sweep(life):
            return
        life.jail.end()
        parent = life.parent
        if parent is not None:
            parent.branches -= 1
            if parent.over and not parent.branches:
                self._release(parent)

    def _sweep(self, life: Life) -> bool:
        """Kill a session's processes but not those of its branches; False if they multiply faster than that."""
        own_level = len(self._memory.in_namespaces(self._memory.self_pid)) - 1
        for _ in range(100):
            family = [self._memory.in_namespaces(number) for number in self._family(life)]
            # Deeper ones belong to branches; the one that calls itself 1 is the init.
            ours = [names for names in family if len(names) == own_level + 2 + _depth(life) and names[-1] != 1]
            if not ours:
                return True
            for names in ours:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(names[own_level], signal.SIGKILL)
            time.sleep(0.001)
        return False

    def _tell_done(
        self, life: Life, cell: Cell, status: int | None, cpu: float, peak: int, *, alive: bool, work: int | None = None
    ) -> None:
        number = None if status is None else os.waitstatus_to_exitcode(status)
        message = {
            "done": cell.name,
            "wall": time.monotonic() - cell.began,
            "cpu": max(cpu, 0.0),
            "peak": peak,
            "why": cell.why,
            "exit_code": number if number is not None and number >= 0 else None,
            "signal": -number if number is not None and number < 0 else None,
            "alive": alive,
        }
        # The folder goes along so that the engine can fetch files from it after the processes are gone.
        wire.send(self._engine, message, [life.jail.work if work is None else work])
