"""Makes a slot's jails, of whichever tier the machine offers, and says what a program gives up on entering one.

A session gets a user and a control group of its own.
"""

from __future__ import annotations

import os

from sandbox.jail import cgroups, namespaces, none, pod
from sandbox.jail.namespaces import Confinement, Jail
from sandbox.supervisor.life import Host, Life, Limits, Place

FIRST_UID, FIRST_SESSION_UID, SESSION_UIDS = 60_100, 61_000, 4_000
# Processes of ours that the kernel counts among a user's: its jail's init, and one that waits for the next program.
_OURS_AMONG_THEM = 2
_OVERHEAD_BYTES = 256 << 20  # what a warm zygote has mapped to write, generously


class Jailer:
    """Makes the jails of slot `index`."""

    def __init__(self, host: Host, index: int) -> None:
        self._host, self._index = host, index
        self._forker = namespaces.Forker(host.proc)
        self._group = host.group(index)
        self._sessions_opened = 0

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

    def group_for_branch(self) -> cgroups.Group | None:
        """A control group for a session that has forked itself; None where there are none."""
        if self._host.groups is None:
            return None
        self._sessions_opened += 1
        return self._session_group(self._host.groups)
