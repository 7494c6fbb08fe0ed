"""A slot's zygotes, one of each kind: the bare one it forks itself, the others are forked for it by their mothers.

Orders go out here; what a zygote says is read by the slot.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from sandbox import wire
from sandbox.guest.zygote import serve_forks
from sandbox.jail import linux, namespaces
from sandbox.supervisor.life import Life, Zygote
from sandbox.supervisor.poll import Poll


class Zygotes:
    """The zygotes that live. `on_word` is called when one has said something, or died; `enter_group` in one we fork."""

    def __init__(
        self, proc: int, poll: Poll, on_word: Callable[[Zygote], None], enter_group: Callable[[], None]
    ) -> None:
        self._proc, self._poll, self._on_word, self._enter_group = proc, poll, on_word, enter_group
        self._by_kind: dict[str, Zygote] = {}  # by kind

    def fork_bare(self) -> None:
        ours, theirs = wire.pair()

        def child() -> NoReturn:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            self._enter_group()
            linux.close_all_except(theirs.fileno(), self._proc)
            serve_forks(theirs, self._proc)

        with theirs:
            namespaces.fork(child)
        self.adopt(Zygote(ours, "bare"))

    def adopt(self, zygote: Zygote) -> None:
        self._by_kind[zygote.kind] = zygote
        self._poll.watch(zygote.line.fileno(), partial(self._on_word, zygote))

    def forget(self, zygote: Zygote) -> None:
        """It has died."""
        self._poll.unwatch(zygote.line.fileno())
        zygote.line.close()
        del self._by_kind[zygote.kind]

    def dismiss(self, kind: str) -> None:
        """Let one end that has nothing left to do, if it has not died."""
        if zygote := self._by_kind.get(kind):
            self.forget(zygote)

    def order(self, life: Life) -> None:
        """Have a life's process forked into its jail, and a line laid to it.

        Raises:
            OSError: its zygote has died, or dies just now.
        """
        if life.kind not in self._by_kind:
            raise OSError("its zygote died")
        assert life.confinement is not None
        life.line, theirs = wire.pair()
        life.line.setblocking(False)  # one who does not read it must not hold up the others
        message = {"id": life.name, "confinement": life.confinement}
        with theirs:
            wire.send(self._by_kind[life.kind].line, message, [life.jail.pidfd, theirs.fileno()])

    def numbers(self) -> list[int]:
        """What /proc calls them."""
        return [zygote.number for zygote in self._by_kind.values()]

    def inherited(self, life: Life) -> int:
        """Memory, in bytes, that its process had from its zygote when it began."""
        return zygote.inherited if (zygote := self._by_kind.get(life.kind)) else 0
