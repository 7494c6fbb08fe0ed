"""The processes of an engine seen from its event loop: starts them, talks to them, replaces those that die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sandbox import wire
from sandbox.engine import memory
from sandbox.engine.channel import Channel
from sandbox.engine.environment import ENVIRONMENT
from sandbox.engine.libraries import Kinds, richest
from sandbox.engine.pipes import Pipes
from sandbox.errors import BY_NAME, SandboxError, SandboxUnavailable, SessionLost
from sandbox.jail import Tier, tree

log = logging.getLogger("sandbox.engine")

_START_SECONDS = 120.0  # imports from a cold disk; past it something is wrong
_MOST_KINDS = 6  # that are made on demand: each is 40 to 120 MiB
_ROOT = str(Path(__file__).parents[2])
_BOOT = "import sys; sys.path.append(sys.argv.pop()); from sandbox.supervisor.launcher import main; main()"

# The slot's account of a run, and a descriptor of its folder; None if this process had no room for it.
Seen = tuple[dict[str, Any], int | None]


class SlotHandle:
    """A slot as the engine sees it: its channel and the questions that are open."""

    def __init__(self, pool: Pool, index: int) -> None:
        self._pool, self.index = pool, index
        self._open: dict[str, asyncio.Future[Any]] = {}
        self._when_done: dict[str, Callable[[], None]] = {}
        self.alive = False
        self.zygotes = {"bare"}  # by kind; the slot has that one whenever it lives
        self.leaving: set[str] = set()  # kinds whose zygote ends with the programs it has
        self.pidfd: int | None = None  # of the slot, where it has a pid namespace of its own
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connect(self, sock: socket.socket) -> None:
        self._channel = Channel(sock, self._on_message)
        self.alive = True

    def kind_for(self, code: str) -> str:
        """Of the zygotes that are here, the kind to fork a program from: the one it needs, else the next poorer one."""
        needed = self._pool.kinds.of(code)
        self._pool.want(needed)
        return richest(needed, self.zygotes)

    def kind_for_session(self) -> str:
        """That of sessions, whose cells are not known yet."""
        return richest("warm", self.zygotes)

    def give_up_zygote(self, kind: str) -> None:
        """Fork no more programs from it; it ends when those it has forked have ended."""
        self.zygotes.discard(kind)
        self.leaving.add(kind)
        with contextlib.suppress(SandboxUnavailable):
            self._channel.send({"op": "give_up", "kind": kind})

    def adopt_zygote(self, kind: str, sock: socket.socket) -> None:
        self._channel.send({"op": "zygote", "kind": kind}, [sock.fileno()])
        self.zygotes.add(kind)

    async def ask(self, name: str, message: wire.Message, pipes: Pipes, when_done: Callable[[], None]) -> Seen:
        """Run something; the slot's account of it. If the task is cancelled, kill it and see it dead first.

        `when_done` is called first of all: who waits for this slot need not wait for its caller, too.
        """
        self._when_done[name] = when_done
        try:
            future = self._ask(name, message, pipes.theirs())
            pipes.sent()
            try:
                seen: Seen = await future
                return seen
            except asyncio.CancelledError:
                await self._cancel(name, future)
                raise
        finally:
            self._open.pop(name, None)
            self._when_done.pop(name, None)

    async def _cancel(self, name: str, future: asyncio.Future[Seen]) -> None:
        """Kill what runs, and return when it is dead. `future` is cancelled with the task, unless it was answered."""
        with contextlib.suppress(SandboxUnavailable):  # its slot died, and it with it
            if future.cancelled():
                future = self._open[name] = asyncio.get_running_loop().create_future()
                self._channel.send({"op": "cancel", "id": name})
            _, work = await asyncio.shield(future)
            if work is not None:
                os.close(work)

    def _ask(self, name: str, message: wire.Message, descriptors: Sequence[int] = ()) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._channel.send(message, descriptors)
        self._open[name] = future
        return future

    async def open(self, name: str, message: wire.Message) -> None:
        try:
            await self._ask(name, message)
        finally:
            self._open.pop(name, None)

    def close_session(self, name: str, reason: str) -> None:
        if self.alive:
            self._channel.send({"op": "close", "session": name, "reason": reason})

    async def end_session(self, name: str, reason: str) -> None:
        """As `close_session`, and wait until its processes are gone."""
        if self.alive:
            await self._ask("end " + name, {"op": "close", "session": name, "reason": reason})

    def _on_message(self, message: wire.Message | None, descriptors: list[int]) -> None:
        if message is None:
            self._died()
            return
        if name := message.get("done"):
            work = descriptors[0] if descriptors else None
            if not self._answer(name, (message, work)) and work is not None:
                os.close(work)
            return
        if name := message.get("refused"):
            self._fail(name, SandboxUnavailable(message["reason"]))
        elif name := message.get("unforked"):
            self._fail(name, BY_NAME[message["kind"]](message["reason"]))
        elif name := message.get("lost"):
            self._fail(name, SessionLost("the session ended before this cell could begin"))
        elif name := message.get("failed"):
            self._fail(name, SandboxUnavailable(message["reason"]))
        elif name := message.get("opened"):
            if not self._answer(name, None):  # who had asked for it has gone
                self.close_session(name, "nobody waited for it to be opened")
        elif fault := message.get("fault"):
            self._pool.faults += 1
            log.error("a supervisor failed over a program, and goes on: %s", fault)
        elif name := message.get("ended"):
            self._pool.session_ended(name, message["reason"])
            self._fail(name, SessionLost(message["reason"]))
            self._answer("end " + name, None)
        elif message.get("zygote") == "died":
            if message["kind"] in self.leaving:
                self.leaving.remove(message["kind"])
                self._pool.zygote_left(message["kind"])
                return
            self._pool.restarts += 1
            if message["kind"] != "bare":
                self.zygotes.discard(message["kind"])
                self._pool.replace_zygote(self, message["kind"])
        elif "ready" in message and not self.ready.done():
            self.pidfd = descriptors[0] if descriptors else None
            self.ready.set_result(None)

    def _answer(self, name: str, answer: Any) -> bool:
        """Whether somebody still waited for it."""
        self._is_done(name)
        future = self._open.pop(name, None)
        if future is None or future.done():
            return False
        future.set_result(answer)
        return True

    def _is_done(self, name: str) -> None:
        if when_done := self._when_done.pop(name, None):
            when_done()

    def _fail(self, name: str, error: SandboxError) -> None:
        self._is_done(name)
        future = self._open.pop(name, None)
        if future is not None and not future.done():
            future.set_exception(error)

    def _died(self) -> None:
        self.alive = False
        self.zygotes, leaving, self.leaving = {"bare"}, self.leaving, set()
        for kind in leaving:
            self._pool.zygote_left(kind)
        self._forget_pidfd()
        for name in list(self._open):
            self._fail(name, SandboxUnavailable("the process that ran it died"))
        if not self.ready.done():
            self.ready.set_exception(SandboxUnavailable("a slot died while it started"))
            self.ready.exception()
        self._pool.slot_died(self)
        self._pool.replace_slot(self)

    def close(self) -> None:
        self.alive = False
        self._channel.close()
        self._forget_pidfd()
        if not self.ready.done():
            self.ready.set_exception(SandboxUnavailable("the engine was closed"))
            self.ready.exception()
        for name in list(self._open):
            self._fail(name, SandboxUnavailable("the engine was closed"))

    def _forget_pidfd(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class Pool:
    """All processes of an engine. `slot_free` is called once with each slot, when it has come up."""

    def __init__(
        self,
        workers: int,
        preload: tuple[str, ...],
        tier: Tier,
        slot_free: Callable[[SlotHandle], None],
        session_ended: Callable[[str, str], None],
        slot_died: Callable[[SlotHandle], None],
        *,
        first: int = 0,
        among: int | None = None,
    ) -> None:
        self._first, self._among = first, among or workers
        self._workers, self.kinds, self.tier = workers, Kinds(preload), tier
        self._slot_free, self.session_ended = slot_free, session_ended
        self.slot_died = slot_died
        self.slots: list[SlotHandle] = []
        self.restarts = self.faults = 0
        self.closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._warden: Channel | None = None
        self._restarting = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._mothers: dict[str, Channel] = {}  # by kind of their zygotes
        self._leaving: dict[str, Channel] = {}  # mothers whose zygotes end, and they with the last of them
        self._wanted: set[str] = set()  # kinds whose mothers were asked for
        self._used: dict[str, float] = {}  # when a program last asked for a kind that is not there from the start

    async def start(self) -> None:
        async with asyncio.timeout(_START_SECONDS):
            await self._launch()
            self.slots[:] = [self._new_slot(index) for index in range(self._workers)]
            self._mothers.clear()
            self._leaving.clear()
            self._wanted.clear()
            if self.kinds.any_loaded:
                await self._new_mother("warm")
            for slot in list(self.slots):
                await slot.ready
                self._came_up(slot)

    def _came_up(self, slot: SlotHandle) -> None:
        """Let a slot be used. Only here, once for each: a slot that was free twice would run two programs at a time."""
        if slot.alive:
            self._new_zygotes(slot)
            self._slot_free(slot)

    async def _launch(self) -> None:
        ours, theirs = wire.pair()
        settings = {"isolation": self.tier.name, "cgroups": self.tier.cgroups,
                    "paths": tree.runtime_paths(), "slots": self._among}  # fmt: skip
        with theirs:
            python = [sys.executable, "-s", "-P", "-X", "utf8", "-c", _BOOT]
            self._process = subprocess.Popen(
                [*python, str(theirs.fileno()), json.dumps(settings), _ROOT],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/",
                start_new_session=True, env=ENVIRONMENT,
            )  # fmt: skip
        self._warden = await self._greet(ours, "warden", self._warden_died)

    async def _greet(self, sock: socket.socket, who: str, on_death: Callable[[], None]) -> Channel:
        """A channel to a process that has said it is ready."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_message(message: wire.Message | None, _: list[int]) -> None:
            if ready.done():
                if message is None:
                    on_death()
            elif message is not None and "ready" in message:
                ready.set_result(None)
            else:
                reason = message["failed"] if message else f"the {who} died while it started"
                ready.set_exception(SandboxUnavailable(reason))

        channel = Channel(sock, on_message)
        try:
            await ready
        except BaseException:
            channel.close()
            raise
        return channel

    async def _new_mother(self, kind: str) -> None:
        parent = self._warden if kind == "warm" else self._mothers["warm"]
        assert parent is not None
        ours = self._order(parent, {"op": "mother", "load": list(self.kinds.to_load(kind))})
        self._mothers[kind] = await self._greet(ours, "mother", partial(self._mother_died, kind))

    def want(self, kind: str) -> None:
        """See to it that there will be zygotes of this kind, unless memory is short."""
        if kind in ("bare", "warm"):
            return
        self._used[kind] = time.monotonic()
        if kind in self._wanted or kind in self._leaving or "warm" not in self._mothers or memory.is_short():
            return
        self._wanted.add(kind)  # for good, should it not start: the next one would not, either
        self._spawn(self._supply(kind))
        on_demand = [other for other in self._mothers if other != "warm"]
        if len(on_demand) >= _MOST_KINDS:
            self._give_up(min(on_demand, key=self._last_use))

    def _last_use(self, kind: str) -> float:
        return self._used.get(kind, 0.0)

    def save_memory(self) -> None:
        """Where memory is short, end the zygotes of the kind that was asked for least lately. Call it now and then."""
        on_demand = [kind for kind in self._mothers if kind != "warm"]
        if on_demand and not self._leaving and memory.is_short():
            self._give_up(min(on_demand, key=self._last_use))

    def _give_up(self, kind: str) -> None:
        self._leaving[kind] = self._mothers.pop(kind)
        self._wanted.discard(kind)
        self._used.pop(kind, None)
        for slot in self.slots:
            if kind in slot.zygotes:
                slot.give_up_zygote(kind)
        self.zygote_left(kind)

    def zygote_left(self, kind: str) -> None:
        """A slot has one zygote less of a kind that was given up; the mother goes with the last."""
        if kind in self._leaving and not any(kind in slot.leaving for slot in self.slots):
            self._leaving.pop(kind).close()

    async def _supply(self, kind: str) -> None:
        """A mother of this kind, and from her a zygote for each slot that has none."""
        with contextlib.suppress(SandboxUnavailable):
            await self._new_mother(kind)
            for slot in self.slots:
                if slot.alive and slot.ready.done() and kind not in slot.zygotes:
                    self._new_zygote(slot, kind)

    def _new_slot(self, index: int) -> SlotHandle:
        """A slot that says itself when it is ready; it takes its place among the slots then."""
        assert self._warden is not None
        slot = SlotHandle(self, index)
        slot.connect(self._order(self._warden, {"op": "slot", "index": self._first + index}))
        if index < len(self.slots):
            self.slots[index] = slot
        return slot

    def _new_zygotes(self, slot: SlotHandle) -> None:
        """One of each kind that has a mother."""
        for kind in list(self._mothers):
            self.replace_zygote(slot, kind)

    def _new_zygote(self, slot: SlotHandle, kind: str) -> None:
        beside = [] if slot.pidfd is None else [slot.pidfd]
        with self._order(self._mothers[kind], {"op": "zygote", "index": self._first + slot.index}, beside) as ours:
            slot.adopt_zygote(kind, ours)

    @staticmethod
    def _order(parent: Channel, message: wire.Message, beside: Sequence[int] = ()) -> socket.socket:
        """Our end of the socket that the process ordered from `parent` will serve."""
        try:
            ours, theirs = wire.pair()
        except OSError as error:
            raise SandboxUnavailable(f"no socket for a new process of the engine: {error.strerror}") from None
        with theirs:
            try:
                parent.send(message, [theirs.fileno(), *beside])
            except SandboxUnavailable:
                ours.close()
                raise
        return ours

    # -- deaths ------------------------------------------------------------------------------------------------

    def replace_zygote(self, slot: SlotHandle, kind: str) -> None:
        if not self.closed and kind in self._mothers:
            with contextlib.suppress(SandboxUnavailable):  # the mother is gone, too; her successor supplies every slot
                self._new_zygote(slot, kind)

    def replace_slot(self, slot: SlotHandle) -> None:
        if not self.closed and not self._restarting:  # then all begin anew
            self.restarts += 1
            self._spawn(self._replace_slot(slot))

    async def _replace_slot(self, old: SlotHandle) -> None:
        """A new slot where one died; nothing if the warden died, since then all begin anew."""
        while not self.closed and not self._restarting and self.slots[old.index] is old:
            with contextlib.suppress(SandboxUnavailable):
                slot = self._new_slot(old.index)
                await slot.ready
                self._came_up(slot)
                return
            await asyncio.sleep(1.0)  # without open files, say; a slot that dies while it starts is replaced anew

    def _mother_died(self, kind: str) -> None:
        if self._leaving.pop(kind, None) is None and not self.closed:
            self.restarts += 1
            del self._mothers[kind]
            if kind == "warm":
                self._spawn(self._supply(kind))
            self._wanted.discard(kind)  # of the others, the next program that asks for it will have one made

    def _warden_died(self) -> None:
        if not self.closed:
            self.restarts += 1
            if not self._restarting:
                self._restarting = True
                self._spawn(self._restart())

    async def _restart(self) -> None:
        """Begin anew after the warden's death, which ended every process of the engine.

        What dies before all have come up, the warden again or a slot, ends the attempt; the next one begins anew.
        """
        while not self.closed:
            self._hang_up()
            await self._wait_for_launcher()
            for slot in self.slots:
                self.slot_died(slot)
            try:
                await self.start()
            except (SandboxUnavailable, TimeoutError, OSError) as error:
                log.error("the engine could not start again, and tries once more: %s", error)
                await asyncio.sleep(1.0)
                continue
            if self._warden is not None and self._warden.open and all(slot.alive for slot in self.slots):
                break
        self._restarting = False

    def _hang_up(self) -> None:
        """Close the lines to all processes, so that they end."""
        for slot in self.slots:
            slot.close()
        for channel in (*self._mothers.values(), *self._leaving.values(), self._warden):
            if channel is not None:
                channel.close()

    async def _wait_for_launcher(self) -> None:
        # Not in a thread: at the interpreter's end, when a forgotten sandbox is closed, none can be started any more.
        while self._process is not None and self._process.poll() is None:
            await asyncio.sleep(0.002)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End every process and return when the last one is gone."""
        self.closed = True
        for task in list(self._tasks):
            task.cancel()
        self._hang_up()
        await self._wait_for_launcher()
