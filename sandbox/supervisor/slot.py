"""One slot: makes the jails, has programs forked into them, keeps their time, and sees that nothing is left.

The engine sends what to run with the program's open files; the answer goes back when every process of the run is
gone. Clock, signals, exit code, CPU time and memory are read from the kernel, never from the program.

It must survive whatever a program does. It never waits for one: what could be held up is done by a process of its own,
under a deadline. What goes wrong over one life ends that life, as a failure of ours. And an end that is known already
is heard before any clock is judged.

Here are the engine's orders, and what zygotes and sessions say. The slot's parts, from the bottom up:

    life           what is known of a program, a session, a zygote
    poll           waits for whatever comes first
    zygotes        the processes that the programs are forked from
    process_table  which processes are whose
    jailer         makes the jails
    preforked      processes that wait in theirs for a program
    forks          the forks of sessions that are under way
    rest           stops sessions between two cells
    watchdog       finds what is over its time or memory
    reaper         ends lives and tells the engine
    outbox         what the engine is told
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

from sandbox import wire
from sandbox.jail import listener
from sandbox.supervisor.branch import Branch
from sandbox.supervisor.forks import Forks
from sandbox.supervisor.jailer import Jailer
from sandbox.supervisor.life import Cell, Host, Life, Zygote
from sandbox.supervisor.outbox import RETRY_SECONDS, Outbox
from sandbox.supervisor.poll import Poll
from sandbox.supervisor.preforked import Preforked
from sandbox.supervisor.process_table import ProcessTable
from sandbox.supervisor.reaper import EMPTIED_LOOK_SECONDS, FROM_OUTSIDE, Reaper
from sandbox.supervisor.rest import Rest
from sandbox.supervisor.watchdog import Watchdog
from sandbox.supervisor.zygotes import Zygotes

T = TypeVar("T")

_ROUNDS = 64  # of hearing what has come in, before clocks are judged all the same
_EXITED = re.compile(rb'\{"exited": (\d{1,9})\}')
# The first words on a line, of what is still our own code.
_ASKS, _READY, _UNREADY = b'{"asks": "session"}', b'{"ready": "session"}', b'{"unready": '
_UNREADY_EXIT = 70 << 8  # the wait status of a process that could not enter its jail (guest/zygote.py)


class Slot:
    """Serves the orders that come on `engine`, one message each; `index` is its number among the engine's slots."""

    def __init__(self, engine: socket.socket, index: int, host: Host) -> None:
        engine.setblocking(False)
        self._engine, self._host = engine, host
        self._outbox = Outbox(engine)
        self._lives: dict[str, Life] = {}
        self._given_up: set[str] = set()  # kinds whose zygote ends with the last life it has forked
        self._jailer = Jailer(host, index)
        self._poll = Poll()
        self._zygotes = Zygotes(host.proc, self._poll, self._on_zygote, partial(host.enter_group, index))
        self._processes = ProcessTable(host.proc, self._zygotes)
        self._preforked = Preforked(host, self._jailer, self._zygotes, self._lives)
        self._watchdog = Watchdog(self._lives, self._processes, self._zygotes)
        self._rest = Rest(self._lives, self._processes)
        self._reaper = Reaper(self._outbox, self._lives, self._poll, self._processes, self._zygotes)
        self._forks = Forks(host, self._jailer, self._processes, self._poll, self._outbox, self._rest,
                            self._adopt_branch)  # fmt: skip
        self._poll.watch(engine.fileno(), self._on_engine)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no handler: see linux.clone_waiter
        # A dead zygote's programs become children of this process; their jail ends only when they are reaped.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self._fork_bare()

    def serve(self) -> NoReturn:
        """Work until the engine goes away; then end, and with this process every init of its jails."""
        self._outbox.send({"ready": "slot"}, [os.pidfd_open(os.getpid())] if self._host.isolated else [])
        due = math.inf
        while True:
            # Kept until it has come: what comes in before, a program's words too, must not put it off.
            due = min(due, time.monotonic() + self._seconds_to_next())
            descriptors, late = self._poll.wait(due)
            self._watchdog.forgive(late)
            self._hear(descriptors)
            if time.monotonic() >= due:
                due = math.inf
                self._look()

    def _seconds_to_next(self) -> float:
        """Until something is to be looked at, though nothing comes in."""
        return min(
            self._watchdog.seconds_to_next(),
            self._forks.seconds_to_deadline(),
            self._rest.seconds_to_next(),
            EMPTIED_LOOK_SECONDS if self._reaper.emptied else math.inf,
            RETRY_SECONDS if self._outbox.waits else math.inf,
        )

    def _look(self) -> None:
        self._judge()
        self._sparing(None, self._forks.end_overdue)
        self._sparing(None, self._reaper.remove_emptied)
        for life in self._rest.due():
            self._sparing(life, partial(self._stop, life))
        self._outbox.flush()

    def _hear(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            self._sparing(None, partial(self._poll.call, descriptor))

    def _judge(self) -> None:
        """End what is over its limits, except what has ended by itself meanwhile."""
        late = self._those(self._watchdog.is_over_time)
        if late:
            for _ in range(_ROUNDS):
                descriptors, _ = self._poll.wait(0.0)
                if not descriptors:
                    break
                self._hear(descriptors)
            self._kill_those("timeout", [life for life in self._those(self._watchdog.must_end) if life in late])
        self._kill_those("memory_limit", self._those(self._watchdog.is_over_memory))
        now = time.monotonic()
        for life in [life for life in self._lives.values() if now > life.given_up_at]:
            self._sparing(life, partial(self._reaper.end, life, None, life.cpu_seconds(), 0))

    def _those(self, is_so: Callable[[Life], bool]) -> list[Life]:
        """Of the lives that run something."""
        running = [life for life in self._lives.values() if life.cell is not None]
        return [life for life in running if self._sparing(life, partial(is_so, life))]

    def _kill_those(self, why: str, lives: list[Life]) -> None:
        for life in lives:
            assert life.cell is not None
            life.cell.why = why
            self._sparing(life, partial(self._reaper.kill, life))

    def _sparing(self, life: Life | None, do: Callable[[], T]) -> T | None:
        """Do something over one life, or for nobody in particular; what it raises ends that life and nothing else."""
        try:
            return do()
        except Exception as error:  # noqa: BLE001 - whatever a program has brought about
            traceback.print_exception(error, limit=-8)
            fault = f"{type(error).__name__}: {error}"[:300]
            self._outbox.send({"fault": fault})
            if life is not None and life.name in self._lives:
                self._give_up(life, f"the sandbox failed over it: {fault}")
            return None

    def _give_up(self, life: Life, reason: str) -> None:
        try:
            self._reaper.end(life, None, 0.0, 0, lost=reason)
        except Exception as error:  # noqa: BLE001 - see `_sparing`; what is left of it ends with this process
            traceback.print_exception(error, limit=-8)
            self._lives.pop(life.name, None)
            life.jail.kill()
            if life.cell is not None:
                self._outbox.send({"failed": life.cell.name, "reason": reason})
            if life.session:
                self._outbox.send({"ended": life.name, "reason": reason})

    def _stop(self, life: Life) -> None:
        if not self._rest.stop(life):
            life.why_ended = "its processes could not be stopped between two cells"
            self._reaper.kill(life)

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
        try:
            self._obey(message, descriptors)
        except Exception as error:
            if name := message.get("id"):
                self._outbox.send({"failed": name, "reason": f"{type(error).__name__}: {error}"[:300]})
            raise
        finally:
            for descriptor in descriptors:  # whoever keeps one has made a copy
                os.close(descriptor)

    def _obey(self, message: wire.Message, descriptors: list[int]) -> None:
        {
            "zygote": self._adopt,
            "give_up": self._give_up_kind,
            "run": self._run,
            "open": self._open,
            "cell": self._cell,
            "cancel": self._cancel,
            "close": self._close,
            "fork": self._fork,
        }[message["op"]](message, descriptors)

    def _adopt(self, message: wire.Message, descriptors: list[int]) -> None:
        (descriptor,) = descriptors
        self._zygotes.adopt(Zygote(socket.socket(fileno=os.dup(descriptor)), message["kind"]))
        self._preforked.prepare(kind=message["kind"])

    def _give_up_kind(self, message: wire.Message, _: list[int]) -> None:
        """Fork no more from a kind's zygote; what it has forked runs on, and it ends with the last of that."""
        self._given_up.add(message["kind"])
        self._preforked.give_up(message["kind"])
        self._end_given_up(message["kind"])

    def _end_given_up(self, kind: str) -> None:
        if kind in self._given_up and not any(life.kind == kind for life in self._lives.values()):
            self._given_up.remove(kind)
            self._zygotes.dismiss(kind)
            self._outbox.send({"zygote": "died", "kind": kind})

    def _fork_bare(self) -> None:
        self._zygotes.fork_bare()
        self._preforked.prepare(kind="bare")

    def _run(self, message: wire.Message, descriptors: list[int]) -> None:
        try:
            life = self._preforked.take(message["limits"], kind=message["kind"])
            self._begin_cell(life, message, descriptors)
        except OSError as error:
            self._refuse(message, str(error))

    def _open(self, message: wire.Message, _: list[int]) -> None:
        try:
            life = self._preforked.begin(message["id"], message["limits"], session=True, kind=message["kind"])
        except OSError as error:
            self._refuse(message, str(error))
            return
        assert life.line is not None
        # The kernel's word on who sent it comes with each message, and only with a message: an empty one is no end.
        life.line.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._listen(life)

    def _listen(self, life: Life) -> None:
        assert life.line is not None
        self._poll.watch(life.line.fileno(), lambda: self._sparing(life, partial(self._on_line, life)))

    def _refuse(self, message: wire.Message, reason: str) -> None:
        self._outbox.send({"refused": message["id"], "reason": reason})

    def _cell(self, message: wire.Message, descriptors: list[int]) -> None:
        life = self._lives.get(message["session"])
        if life is None or life.line is None:
            self._outbox.send({"lost": message["id"]})
            return
        # Its end is on the way to us, or it does not read: then it runs into its time limit.
        with contextlib.suppress(OSError):
            self._begin_cell(life, message, descriptors)

    def _begin_cell(self, life: Life, message: wire.Message, descriptors: list[int]) -> None:
        """Let a process run what `descriptors` bring. Raises OSError if it is gone, or reads no more."""
        assert life.line is not None
        self._rest.end(life)
        life.cell = Cell(message["id"], time.monotonic(), life.cpu_seconds(), message["limits"], life.others_cpu)
        if life.group is not None:
            if not life.session:
                life.group.take_stock()
            if not life.group.begin(message["limits"]["memory_bytes"], message["limits"]["processes"]):
                life.cell.why = "memory_limit"
                self._reaper.kill(life)
                return
        wire.send(life.line, {"id": message["id"]}, descriptors)

    def _fork(self, message: wire.Message, _: list[int]) -> None:
        self._forks.begin(message["id"], self._lives.get(message["session"]))

    def _adopt_branch(self, life: Life) -> None:
        self._lives[life.name] = life
        self._rest.begin(life)
        self._listen(life)
        self._opened(life, life.jail.pid, life.pid)

    def _opened(self, life: Life, *pids: int) -> None:
        """Tell that a session is open; then, before its first cell, put its processes into its group (up to 10 ms)."""
        self._outbox.send({"opened": life.name})
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
            self._sparing(life, partial(self._started, life, message["pid"]))
        elif life := self._lives.get(message.get("exited", "")):
            self._sparing(life, partial(self._exited, life, message))
        elif life := self._lives.get(message.get("unstarted", "")):
            if message["errno"] == errno.ENOMEM and life.cell is not None:  # less than a process needs to begin
                life.cell.why = life.cell.why or "memory_limit"
                self._end(life, signal.SIGKILL, 0.0, 0)
            else:
                self._end(life, None, 0.0, 0, lost=message["reason"])

    def _exited(self, life: Life, message: wire.Message) -> None:
        """A zygote tells that a program's process has ended, and when."""
        lost = _why_unready(life) if message["status"] == _UNREADY_EXIT else None
        self._end(life, message["status"], message["cpu"], message["rss"], lost, message["at"])

    def _started(self, life: Life, pid: int) -> None:
        life.pid = pid
        life.jail.hold(pid)
        if life.session:
            self._opened(life, pid)

    def _lose(self, zygote: Zygote) -> None:
        """A zygote has died: nobody will tell us how its programs end."""
        self._zygotes.forget(zygote)
        self._given_up.discard(zygote.kind)
        for life in [life for life in self._lives.values() if life.kind == zygote.kind]:
            self._end(life, None, 0.0, 0, lost="its zygote died")
        self._outbox.send({"zygote": "died", "kind": zygote.kind})
        if zygote.kind == "bare":
            self._fork_bare()

    def _on_line(self, life: Life) -> None:
        """The session says that its cell is done. Any word it sends means only this."""
        assert life.line is not None
        if not life.spoke and not isinstance(life.jail, Branch) and self._is_ready(life):
            return
        try:
            word, sender, _, _ = life.line.recvmsg(wire.MOST_BYTES, socket.CMSG_SPACE(12))  # no room for descriptors
        except BlockingIOError:
            return
        except OSError:
            word, sender = b"", []
        if isinstance(life.jail, Branch) and word.startswith(b'{"exited"'):
            self._end(life, _exit_status(word), life.cpu_seconds(), 0)
        elif word or _sent_by(sender):
            life.spoke, busy = True, life.cell is not None
            self._reaper.end_cell(life)
            if busy and life.cell is None:
                self._rest.begin(life)
        elif isinstance(life.jail, Branch):  # its init, which holds the line too, is gone: no one will tell us
            self._end(life, None, life.cpu_seconds(), 0, lost=None if life.ended_by_us else FROM_OUTSIDE)
        else:  # closed by the program: it can never answer again
            self._poll.unwatch(life.line.fileno())
            self._reaper.kill(life)

    def _is_ready(self, life: Life) -> bool:
        """Hear the first words on a session's line, our own code's: where its filter asks; that it is there."""
        assert life.line is not None
        with contextlib.suppress(OSError):
            word = life.line.recv(wire.MOST_BYTES, socket.MSG_PEEK)
            if word == _ASKS and life.listener < 0 and (received := wire.receive(life.line)) and received[1]:
                (life.listener,) = received[1]
                self._poll.watch(life.listener, partial(self._sparing, life, partial(self._on_question, life)))
                return True
            if word == _READY:
                life.spoke = True
                life.line.recv(wire.MOST_BYTES)
                return True
        return False

    def _on_question(self, life: Life) -> None:
        """A process of a session, or of its branches, wants to fork into namespaces of its own."""
        if not listener.answer(life.listener, self._forks.may_fork):
            self._poll.unwatch(life.listener)

    def _end(
        self, life: Life, status: int | None, cpu: float, rss: int, lost: str | None = None, at: float | None = None
    ) -> None:
        self._reaper.end(life, status, cpu, rss, lost, at)
        if not life.session and life.cell is not None and life.kind not in self._given_up:
            self._preforked.prepare(life.cell.limits, kind=life.kind)
        self._end_given_up(life.kind)


def _sent_by(control: list[tuple[int, int, bytes]]) -> int:
    """The pid that sent an empty message; 0 at the end of a line, for which gVisor names a sender, too: nobody."""
    credentials = [
        data for level, kind, data in control if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    return int.from_bytes(credentials[0][:4], sys.byteorder) if credentials else 0


def _why_unready(life: Life) -> str | None:
    """Why a process that ended as one does which cannot enter its jail could not; None if it was the program's doing.

    It says so on its line, which a run has no more once its program begins; a session's first word is ours, too.
    """
    if life.line is None or life.spoke:
        return None
    with contextlib.suppress(OSError):
        word = life.line.recv(wire.MOST_BYTES, socket.MSG_DONTWAIT)
        if word == _ASKS:
            word = life.line.recv(wire.MOST_BYTES, socket.MSG_DONTWAIT)
        if word.startswith(_UNREADY):
            return f"its process could not begin: {word[len(_UNREADY) : -1].decode('utf-8', 'replace')}"
    return None


def _exit_status(word: bytes) -> int | None:
    """How a branch's init says that its program ended; it can lie about nothing but itself."""
    found = _EXITED.fullmatch(word)
    if found is None:
        return None
    try:
        os.waitstatus_to_exitcode(int(found[1]))
    except (ValueError, OverflowError):
        return None
    return int(found[1])
