"""Processes that are in their jails already and wait for a program: one of each kind, made while nobody waits for it.

What a program needs before its first line, a jail, a fork and the steps into the jail, takes longer than most programs.
"""

from __future__ import annotations

import contextlib
import itertools

from sandbox import types
from sandbox.supervisor.jailer import Jailer
from sandbox.supervisor.life import Host, Life, Limits
from sandbox.supervisor.zygotes import Zygotes

_USUAL = types.Limits().to_json()


class Preforked:
    """Begins the lives of a slot, and has for runs at most one ready of each kind."""

    def __init__(self, host: Host, jailer: Jailer, zygotes: Zygotes, lives: dict[str, Life]) -> None:
        self._host, self._jailer, self._zygotes, self._lives = host, jailer, zygotes, lives
        self._ready: dict[str, str] = {}
        self._limits: dict[str, Limits] = {}  # what the spare was made for
        self._names = (f"run-{count}" for count in itertools.count())

    def begin(self, name: str, limits: Limits, *, session: bool, kind: str) -> Life:
        """A life in its jail whose process is being forked and will do what comes on its line.

        Raises:
            OSError: the machine has no room for it, or its zygote is dead.
        """
        life = self._jailer.settle(name, limits, session=session, kind=kind)
        try:
            self._zygotes.order(life)
        except OSError:
            if life.line is not None:
                life.line.close()
            life.jail.end()
            raise
        self._lives[name] = life
        return life

    def take(self, limits: Limits, *, kind: str) -> Life:
        """A life for one run with these limits: the one that is ready, if it fits, else a new one.

        Raises:
            OSError: as `begin`.
        """
        life = self._lives.get(self._ready.pop(kind, ""))
        if life is not None and _alike(self._limits[kind], limits):
            return life
        if life is not None:
            life.killed = True
            life.jail.kill()
        return self.begin(next(self._names), limits, session=False, kind=kind)

    def prepare(self, limits: Limits = _USUAL, *, kind: str) -> None:
        """Begin a life for the next run, which is expected to have these limits; one that is ready stays."""
        if self._host.pod or self._ready.get(kind) in self._lives:  # in a pod a user has one folder
            return
        with contextlib.suppress(OSError):  # the run that needs one will say why it cannot be had
            self._ready[kind] = self.begin(next(self._names), limits, session=False, kind=kind).name
            self._limits[kind] = limits

    def give_up(self, kind: str) -> None:
        """End the one of this kind that is ready."""
        if life := self._lives.get(self._ready.pop(kind, "")):
            life.killed = True
            life.jail.kill()


def _alike(ours: Limits, theirs: Limits) -> bool:
    """Whether what a process gives up on entering its jail is the same under both."""
    return all(ours[name] == theirs[name] for name in ("cpu_seconds", "file_bytes", "processes", "memory_bytes"))
