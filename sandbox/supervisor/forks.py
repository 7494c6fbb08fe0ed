"""The forks of sessions that are under way: each a conversation with a `Furnisher`, under a deadline, beside all else.

A session can be silent, die or lie at every step of its fork. Whatever it does, the fork is refused (its own doing) or
told as a failure of ours; nobody else waits for it.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sandbox import wire
from sandbox.errors import BadRequest, SandboxError, SandboxUnavailable, SessionBusy, SessionLost
from sandbox.jail import namespaces
from sandbox.jail.namespaces import Jail
from sandbox.supervisor.branch import COPY_SECONDS, FORK_SECONDS, Branch, Furnisher
from sandbox.supervisor.jailer import Jailer
from sandbox.supervisor.life import Host, Life
from sandbox.supervisor.outbox import Outbox
from sandbox.supervisor.poll import Poll
from sandbox.supervisor.process_table import ProcessTable
from sandbox.supervisor.rest import Rest

_TIDY_SECONDS = 0.01  # after a fork: first comes what the branch and its parent are asked for next
_LOST = "the session ended before it could be forked"


@dataclass(eq=False)
class Fork:
    """One fork under way; `jail` is there once the branch's init is."""

    name: str
    parent: Life
    furnisher: Furnisher
    deadline: float
    jail: Branch | None = None
    number: int = 0  # of the init, as /proc numbers it


class Forks:
    """Forks sessions; `adopt` takes each branch that has come to be."""

    def __init__(
        self,
        host: Host,
        jailer: Jailer,
        processes: ProcessTable,
        poll: Poll,
        outbox: Outbox,
        rest: Rest,
        adopt: Callable[[Life], None],
    ) -> None:
        self._host, self._jailer, self._processes = host, jailer, processes
        self._poll, self._outbox, self._rest, self._adopt = poll, outbox, rest, adopt
        self._under_way: list[Fork] = []
        self._done: list[Furnisher] = []  # to be ended
        self._tidy_at = math.inf
        self._ready = Furnisher(host.proc) if host.isolated else None

    def begin(self, name: str, parent: Life | None) -> None:
        """Fork `parent` as `name`; the engine is told how that ends."""
        try:
            fork = self._begin(name, parent)
        except (SandboxError, OSError) as error:
            self._refuse(name, error)
            return
        self._under_way.append(fork)
        self._poll.watch(fork.furnisher.line.fileno(), partial(self._on_word, fork))

    def _begin(self, name: str, parent: Life | None) -> Fork:
        if parent is None or parent.line is None:
            raise SessionLost(_LOST)
        if not isinstance(parent.jail, (Jail, Branch)):
            raise BadRequest("sessions can be forked in the jail only: its namespaces keep the two apart")
        if not self._processes.family(parent):
            raise SessionLost(_LOST)
        furnisher, self._ready = self._ready or Furnisher(self._host.proc), None
        try:
            furnisher.begin(parent.numbers[0], parent.line, parent.jail, spoke=parent.spoke)
        except OSError:
            furnisher.close()
            raise
        self._rest.end(parent)
        return Fork(name, parent, furnisher, time.monotonic() + FORK_SECONDS)

    def may_fork(self, pid: int) -> bool:
        """Whether the thread is that of a session which has been told to fork and has not yet."""
        return any(fork.parent.pid == pid and fork.jail is None for fork in self._under_way)

    def seconds_to_deadline(self) -> float:
        return min([self._tidy_at, *(fork.deadline for fork in self._under_way)]) - time.monotonic()

    def end_overdue(self) -> None:
        """Refuse those that have not come on in time; tidy up behind those that are done."""
        now = time.monotonic()
        if now >= self._tidy_at:
            self._tidy()
        for fork in [fork for fork in self._under_way if now > fork.deadline]:
            took = "copy its files" if fork.jail else "fork"
            self._give_up(fork, SessionBusy(f"the session did not {took} in time"))

    def _on_word(self, fork: Fork) -> None:
        """The furnisher says how far it has come. It is ours, but what it reports on is the session's."""
        try:
            received = wire.receive(fork.furnisher.line)
            if received is None:
                raise SandboxUnavailable("the process that furnishes branches died")
            message, descriptors = received
            if "failed" in message:
                errors: dict[str, type[SandboxError]] = {each.__name__: each for each in (SessionBusy, SessionLost)}
                raise errors.get(message["kind"], SandboxUnavailable)(message["failed"])
            if "init" in message:
                fork.jail = Branch(message["init"], descriptors[0], fork.parent.jail)  # type: ignore[arg-type]
                fork.number = message["number"]
                fork.deadline = time.monotonic() + COPY_SECONDS
                return
            self._finish(fork, message["program"], descriptors)
        except (SandboxError, OSError) as error:
            self._give_up(fork, error)

    def _finish(self, fork: Fork, pid: int, descriptors: list[int]) -> None:
        """The branch is furnished: let it go, and hand it over."""
        assert fork.jail is not None
        fork.jail.box, fork.jail.work, line_fd, program = descriptors
        line = socket.socket(fileno=line_fd)
        number = namespaces.number(self._host.proc, program)  # of the descriptor: a pid could be another's by now
        os.close(program)
        try:
            if number not in self._processes.watch.children(fork.number):
                raise SessionBusy("the session did not fork: the branch's program is not its init's child")
            if fork.parent.over:
                raise SessionLost(_LOST)
            line.setblocking(False)
            wire.send(line, {"go": True})
            group = self._jailer.group_for_branch()
        except BaseException:
            line.close()
            raise
        self._close(fork)
        life = Life(fork.name, fork.jail, group, True, line, kind=fork.parent.kind, parent=fork.parent)
        life.pid, life.numbers = pid, [number, fork.number]
        fork.parent.branches.append(life)
        self._adopt(life)

    def _give_up(self, fork: Fork, error: SandboxError | OSError) -> None:
        self._close(fork)
        self._tidy()  # now: its furnisher may hang in what the session has put in its way
        if fork.jail is not None:
            with contextlib.suppress(TimeoutError):
                fork.jail.end()
        self._refuse(fork.name, SessionLost(_LOST) if fork.parent.over else error)

    def _close(self, fork: Fork) -> None:
        self._under_way.remove(fork)
        self._rest.begin(fork.parent)
        self._poll.unwatch(fork.furnisher.line.fileno())
        self._done.append(fork.furnisher)
        self._tidy_at = min(self._tidy_at, time.monotonic() + _TIDY_SECONDS)

    def _tidy(self) -> None:
        """End the furnishers that are done with, and have the next one ready."""
        self._tidy_at = math.inf
        while self._done:
            self._done.pop().close()
        if self._ready is None:
            with contextlib.suppress(OSError):  # the fork that needs one will say why it cannot be had
                self._ready = Furnisher(self._host.proc)

    def _refuse(self, name: str, error: SandboxError | OSError) -> None:
        kind = type(error).__name__ if isinstance(error, SandboxError) else SandboxUnavailable.__name__
        self._outbox.send({"unforked": name, "kind": kind, "reason": str(error)[:1000]})
