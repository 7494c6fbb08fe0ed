"""Makes a slot's jails, of whichever tier the machine offers, and says what a program gives up on entering one.

A session gets a user and a control group of its own.
"""

from __future__ import annotations

import contextlib
import os

from sandbox import wire
from sandbox.errors import BadRequest, SessionLost
from sandbox.jail import cgroups, namespaces, none, pod
from sandbox.jail.namespaces import Confinement, Jail
from sandbox.supervisor import branch
from sandbox.supervisor.branch import Branch
from sandbox.supervisor.life import Host, Life, Limits, Place
from sandbox.supervisor.process_table import ProcessTable

FIRST_UID, FIRST_SESSION_UID, SESSION_UIDS = 60_100, 61_000, 4_000
# Processes of ours that the kernel counts among a user's: its jail's init, and one that waits for the next program.
_OURS_AMONG_THEM = 2
_OVERHEAD_BYTES = 256 << 20  # what a warm zygote has mapped to write, generously


class Jailer:
    """Makes the jails of slot `index`; puts its own process into the slot's control group."""

    def __init__(self, host: Host, index: int) -> None:
        self._host, self._index = host, index
        self._forker = namespaces.Forker(host.proc)
        self._group = host.enter_group(index)
        self._sessions_opened = 0
        self._furnisher = branch.Furnisher(host.proc) if host.isolated else None

    def settle(self, name: str, limits: Limits, *, session: bool, kind: str) -> Life:
        """A life that has its jail, and a session its control group, but no process yet.

        Raises:
            OSError: the machine has no room for another jail.
        """
        group = self._group
        self._sessions_opened += session
        jail = self._jail(limits["file_bytes"], session=session)
        if group is not None and session:
            try:
                group = self._session_group(self._host.groups)
                group.begin(limits["memory_bytes"], limits["processes"])
            except OSError:
                jail.end()
                raise
        return Life(name, jail, group, session, kind=kind, confinement=self.confinement(jail, group, limits, session))

    def _jail(self, file_bytes: int, *, session: bool) -> Place:
        if not self._host.isolated and not self._host.pod:
            return none.Folder(file_bytes)
        if not self._host.root:
            uid, gid = os.geteuid(), os.getegid()
        elif session:
            uid = gid = FIRST_SESSION_UID + (self._index * 64 + self._sessions_opened) % SESSION_UIDS
        else:
            uid = gid = FIRST_UID + self._index
        if self._host.pod:
            return pod.Quarters(uid, file_bytes)
        return Jail(self._forker, uid=uid, gid=gid, userns=not self._host.root, file_bytes=file_bytes)

    def _session_group(self, groups: cgroups.Folder | None) -> cgroups.Group:
        assert groups is not None, "a slot has a group where sessions can have theirs, and only there"
        return groups.group(f"session-{self._index}-{self._sessions_opened}")

    def confinement(self, jail: Place, group: cgroups.Group | None, limits: Limits, session: bool) -> Confinement:
        # Without isolation the kernel would count all that this user runs.
        counted = group is None and (self._host.isolated or self._host.pod)
        return Confinement(
            uid=jail.uid,
            gid=jail.gid,
            userns=jail.userns,
            session=session,
            cpu_seconds=limits["cpu_seconds"],
            file_bytes=limits["file_bytes"],
            processes=limits["processes"] + (_OURS_AMONG_THEM if self._host.isolated else 1) if counted else None,
            data_bytes=None if group else 2 * limits["memory_bytes"] + _OVERHEAD_BYTES,
            isolated=self._host.isolated,
            pod=self._host.pod,
        )

    def fork(self, name: str, parent: Life | None, processes: ProcessTable) -> Life:
        """A copy of the session `parent`, running, in a jail nested in its own; see `sandbox/supervisor/branch.py`.

        Raises:
            SessionLost: there is no such session any more.
            BadRequest: not on this tier.
            SessionBusy: the session has what a fork cannot part, or does not fork.
            SandboxUnavailable: the machine allows no nested namespaces, or the copy failed.
        """
        if parent is None or parent.line is None:
            raise SessionLost("the session ended before it could be forked")
        if not isinstance(parent.jail, (Jail, Branch)):
            raise BadRequest("sessions can be forked in the jail only: its namespaces keep the two apart")
        if not processes.family(parent):
            raise SessionLost("the session ended before it could be forked")
        branch.refuse_if_entangled(processes.watch, parent.numbers[0])
        with contextlib.ExitStack() as undo:
            line = undo.enter_context(branch.ask_for_branch(parent.line))
            furnisher = self._furnisher = self._furnisher or branch.Furnisher(self._host.proc)
            jail = Branch(branch.hear(line, "init"), parent.jail)
            undo.callback(jail.end)
            number = namespaces.number(self._host.proc, jail.pidfd)
            furnisher.begin(number, parent.jail)
            life = Life(name, jail, None, True, line, kind=parent.kind, parent=parent)
            if self._host.groups is not None:
                self._sessions_opened += 1
                life.group = self._session_group(self._host.groups)
                undo.callback(life.group.remove)
            life.pid = branch.hear(line, "program")
            life.numbers = [namespaces.number_of(self._host.proc, life.pid), number]
            furnisher.finish(jail)
            line.settimeout(None)
            wire.send(line, {"go": True})
            undo.pop_all()
        parent.branches += 1
        return life

    def prepare_for_fork(self) -> None:
        """Replace the process that has furnished a branch, while nobody waits for the next."""
        if self._furnisher is not None and self._furnisher.begun:
            self._furnisher.close()
            self._furnisher = None
            with contextlib.suppress(OSError):  # the fork that needs one will say why it cannot be had
                self._furnisher = branch.Furnisher(self._host.proc)
