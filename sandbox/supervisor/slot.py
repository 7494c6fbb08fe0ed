"""One slot: makes the jails, has programs forked into them, keeps their time, and sees that nothing is left.

The engine sends what to run with the program's open files; the answer goes back when every process of the run is
gone. Clock, signals, exit code, CPU time and memory are read from the kernel, never from the program.

Here are the engine's orders, and what zygotes and sessions say. The slot's parts, from the bottom up:

    life           what is known of a program, a session, a zygote
    poll           waits for whatever comes first
    zygotes        the processes that the programs are forked from
    process_table  which processes are whose
    jailer         makes the jails
    preforked      processes that wait in theirs for a program
    watchdog       finds what is over its time or memory
    reaper         ends lives and tells the engine
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import time
from functools import partial
from typing import NoReturn

from sandbox import wire
from sandbox.errors import SandboxError, SandboxUnavailable
from sandbox.supervisor.branch import Branch
from sandbox.supervisor.jailer import Jailer
from sandbox.supervisor.life import Cell, Host, Life, Zygote
from sandbox.supervisor.poll import Poll
from sandbox.supervisor.preforked import Preforked
from sandbox.supervisor.process_table import ProcessTable
from sandbox.supervisor.reaper import FROM_OUTSIDE, Reaper
from sandbox.supervisor.watchdog import Watchdog
from sandbox.supervisor.zygotes import Zygotes


class Slot:
    """Serves the orders that come on `engine`, one message each; `index` is its number among the engine's slots."""

    def __init__(self, engine: socket.socket, index: int, host: Host) -> None:
        self._engine, self._host = engine, host
        self._lives: dict[str, Life] = {}
        self._jailer = Jailer(host, index)
        self._poll = Poll()
        self._zygotes = Zygotes(host.proc, self._poll, self._on_zygote)
        self._processes = ProcessTable(host.proc, self._zygotes)
        self._preforked = Preforked(host, self._jailer, self._zygotes, self._lives)
        self._watchdog = Watchdog(self._lives, self._processes, self._zygotes)
        self._reaper = Reaper(engine, self._lives, self._poll, self._processes, self._zygotes)
        self._poll.watch(engine.fileno(), self._on_engine)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no handler: see linux.clone_waiter
        # A dead zygote's programs become children of this process; their jail ends only when they are reaped.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self._fork_bare()

    def serve(self) -> NoReturn:
        """Work until the engine goes away; then end, and with this process every init of its jails."""
        wire.send(self._engine, {"ready": "slot"}, [os.pidfd_open(os.getpid())] if self._host.isolated else [])
        while True:
            most = self._watchdog.milliseconds_to_deadline(emptied=bool(self._reaper.emptied))
            descriptors, late = self._poll.wait(most)
            self._watchdog.forgive(late)
            for descriptor in descriptors:
                self._poll.call(descriptor)
            self._reaper.end_those_given_up()
            for life in self._watchdog.of_time():
                self._reaper.kill(life)
            for life in self._watchdog.of_memory():
                self._reaper.kill(life)
            self._reaper.remove_emptied()

    def _leave(self) -> NoReturn:
        if not self._host.isolated:  # elsewhere the kernel ends them with this process
            for life in self._lives.values():
                with contextlib.suppress(OSError):
                    life.jail.end()
        os._exit(0)

    # -- orders ------------------------------------------------------------------------------------------------

    def _on_engine(self) -> None:
        received = wire.receive(self._engine)
        if received is None:
            self._leave()
        message, descriptors = received
        {
            "zygote": self._adopt,
            "run": self._run,
            "open": self._open,
            "cell": self._cell,
            "cancel": self._cancel,
            "close": self._close,
            "fork": self._fork,
        }[message["op"]](message, descriptors)
        for descriptor in descriptors:  # whoever keeps one has made a copy
            os.close(descriptor)

    def _adopt(self, message: wire.Message, descriptors: list[int]) -> None:
        (descriptor,) = descriptors
        self._zygotes.adopt(Zygote(socket.socket(fileno=os.dup(descriptor)), message["kind"]))
        self._preforked.prepare(kind=message["kind"])

    def _fork_bare(self) -> None:
        self._zygotes.fork_bare()
        self._preforked.prepare(kind="bare")

    def _run(self, message: wire.Message, descriptors: list[int]) -> None:
        try:
            life = self._preforked.take(message["limits"], kind=message["kind"])
            self._begin_cell(life, message, descriptors)
        except OSError as error:
            self._refuse(message, str(error))
            return
        assert life.line is not None
        life.line.close()  # it has said all it had to say
        life.line = None

    def _open(self, message: wire.Message, _: list[int]) -> None:
        try:
            life = self._preforked.begin(message["id"], message["limits"], session=True, kind=message["kind"])
        except OSError as error:
            self._refuse(message, str(error))
            return
        assert life.line is not None
        self._poll.watch(life.line.fileno(), partial(self._on_line, life))

    def _refuse(self, message: wire.Message, reason: str) -> None:
        wire.send(self._engine, {"refused": message["id"], "reason": reason})

    def _cell(self, message: wire.Message, descriptors: list[int]) -> None:
        life = self._lives.get(message["session"])
        if life is None or life.line is None:
            wire.send(self._engine, {"lost": message["id"]})
            return
        # Its end is on the way to us, or it does not read: then it runs into its time limit.
        with contextlib.suppress(OSError):
            self._begin_cell(life, message, descriptors)

    def _begin_cell(self, life: Life, message: wire.Message, descriptors: list[int]) -> None:
        """Let a process run what `descriptors` bring. Raises OSError if it is gone, or reads no more."""
        assert life.line is not None
        life.cell = Cell(message["id"], time.monotonic(), life.cpu_seconds(), message["limits"])
        if life.group is not None:
            if not life.session:
                life.group.take_stock()
            if not life.group.begin(message["limits"]["memory_bytes"], message["limits"]["processes"]):
                life.cell.why = "memory_limit"
                self._reaper.kill(life)
                return
        wire.send(life.line, {"id": message["id"]}, descriptors)

    def _fork(self, message: wire.Message, _: list[int]) -> None:
        try:
            life = self._jailer.fork(message["id"], self._lives.get(message["session"]), self._processes)
        except (SandboxError, OSError) as error:
            kind = type(error).__name__ if isinstance(error, SandboxError) else SandboxUnavailable.__name__
            wire.send(self._engine, {"unforked": message["id"], "kind": kind, "reason": str(error)})
        else:
            assert life.line is not None
            life.line.setblocking(False)
            self._lives[life.name] = life
            self._poll.watch(life.line.fileno(), partial(self._on_line, life))
            self._opened(life, life.jail.pid, life.pid)
        self._jailer.prepare_for_fork()

    def _opened(self, life: Life, *pids: int) -> None:
        """Tell that a session is open; then, before its first cell, put its processes into its group (up to 10 ms)."""
        wire.send(self._engine, {"opened": life.name})
        if life.group is not None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # if one is gone, we shall hear
                    life.group.enter(pid)

    def _cancel(self, message: wire.Message, _: list[int]) -> None:
        for life in self._lives.values():
            if life.cell is not None and life.cell.name == message["id"]:
                life.cell.why = life.cell.why or "cancelled"
                self._reaper.kill(life)

    def _close(self, message: wire.Message, _: list[int]) -> None:
        if life := self._lives.get(message["session"]):
            life.why_ended = message["reason"]
            self._reaper.kill(life)

    # -- what zygotes and sessions say -------------------------------------------------------------------------

    def _on_zygote(self, zygote: Zygote) -> None:
        received = wire.receive(zygote.line)
        if received is None:
            self._lose(zygote)
            return
        message, _ = received
        if "zygote" in message:
            zygote.number, zygote.inherited = message["zygote"], message["inherited"]
        elif life := self._lives.get(message.get("started", "")):
            self._started(life, message["pid"])
        elif life := self._lives.get(message.get("exited", "")):
            self._end(life, message["status"], message["cpu"], message["rss"])
        elif life := self._lives.get(message.get("unstarted", "")):
            if message["errno"] == errno.ENOMEM and life.cell is not None:  # less than a process needs to begin
                life.cell.why = life.cell.why or "memory_limit"
                self._end(life, signal.SIGKILL, 0.0, 0)
            else:
                self._end(life, None, 0.0, 0, lost=message["reason"])

    def _started(self, life: Life, pid: int) -> None:
        life.pid = pid
        life.jail.hold(pid)
        if life.session:
            self._opened(life, pid)

    def _lose(self, zygote: Zygote) -> None:
        """A zygote has died: nobody will tell us how its programs end."""
        self._zygotes.forget(zygote)
        for life in [life for life in self._lives.values() if life.kind == zygote.kind]:
            self._end(life, None, 0.0, 0, lost="its zygote died")
        wire.send(self._engine, {"zygote": "died", "kind": zygote.kind})
        if zygote.kind == "bare":
            self._fork_bare()

    def _on_line(self, life: Life) -> None:
        """The session says that its cell is done. Any word it sends means only this."""
        assert life.line is not None
        try:
            word = life.line.recv(wire.MOST_BYTES)
        except OSError:
            word = b""
        if isinstance(life.jail, Branch) and word.startswith(b'{"exited"'):
            self._end(life, _exit_status(word), life.cpu_seconds(), 0)
        elif word:
            self._reaper.end_cell(life)
        elif isinstance(life.jail, Branch):  # its init, which holds the line too, is gone: no one will tell us
            self._end(life, None, life.cpu_seconds(), 0, lost=None if life.ended_by_us else FROM_OUTSIDE)
        else:  # closed by the program: it can never answer again
            self._poll.unwatch(life.line.fileno())
            self._reaper.kill(life)

    def _end(self, life: Life, status: int | None, cpu: float, rss: int, lost: str | None = None) -> None:
        self._reaper.end(life, status, cpu, rss, lost)
        if not life.session and life.cell is not None:
            self._preforked.prepare(life.cell.limits, kind=life.kind)


def _exit_status(word: bytes) -> int | None:
    """How a branch's init says that its program ended; it can lie about nothing but itself."""
    try:
        status = json.loads(word)["exited"]
        os.waitstatus_to_exitcode(status)
    except (ValueError, TypeError, OverflowError):
        return None
    return status if isinstance(status, int) else None
