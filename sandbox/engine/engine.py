"""The engine: slots, a queue before them, and the sessions that live in them.

A library for asyncio; the HTTP server and the embedded client are two doors to it. The programs' processes are forked
by others (`sandbox/supervisor/launcher.py`); here are the order of service, the pipes, and what becomes of a failure
of ours.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import time
import warnings
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.engine.descriptors import EXHAUSTED, check_limit, needed, raise_limit
from sandbox.engine.pipes import Pipes
from sandbox.engine.pool import Pool, SlotHandle
from sandbox.engine.results import fetch, figures_drawn, make_result
from sandbox.errors import Overloaded, SandboxUnavailable, SessionBusy, SessionLost
from sandbox.jail import choose_tier
from sandbox.types import ExecRequest, ExecResult, Isolation, Limits

FETCH_BYTES = 64 << 20  # the most that one run brings back in files


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the engine is doing. Counters since its start; `bytes_dropped` is output beyond `output_bytes`."""

    isolation: Isolation
    workers: int
    busy: int
    queued: int
    live_sessions: int
    zygote_restarts: int
    supervisor_faults: int
    bytes_dropped: int
    runs: int
    outcomes: dict[str, int]
    kills: dict[str, int]
    notes: tuple[str, ...]


@dataclass
class Session:
    """A live session, as the engine sees it."""

    name: str
    slot: SlotHandle
    limits: Limits
    ttl_seconds: float
    used: float = field(default_factory=time.monotonic)
    busy: bool = False
    ended: str | None = None  # why, if that was heard while a cell was on its way back


class Turn:
    """The use of a slot for one program or cell. It ends as soon as the slot is done, before the result is made."""

    def __init__(self, slot: SlotHandle, free: Callable[[SlotHandle], None]) -> None:
        self.slot, self._free = slot, free
        self._over = False

    def end(self) -> None:
        if not self._over:
            self._over = True
            self._free(self.slot)


def _give_up(future: asyncio.Future[SlotHandle], most_seconds: float) -> None:
    """End the wait for a slot."""
    if not future.done():
        message = f"no slot became free within queue_seconds = {most_seconds}; nothing was run"
        future.set_exception(Overloaded(message))


async def _fetch(work: int | None, names: tuple[str, ...]) -> dict[str, bytes]:
    """The files asked for, read beside the event loop: what they are is a program's choice."""
    if work is None and names:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    if work is not None and names:
        return await asyncio.to_thread(fetch, work, names, FETCH_BYTES)
    if work is not None:
        os.close(work)
    return {}


def _exhausted(error: OSError | SandboxUnavailable) -> Exception:
    """`error`, as a failure of ours that may be retried where this machine has run out of something."""
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return SandboxUnavailable(f"the sandbox has no more open files or memory for them: {error.strerror}")
    return error


class Engine:
    """Runs programs on `workers` slots, first come, first served.

    `preload` names the libraries that are imported once and shared by all runs. `isolation` "auto" takes the best
    tier this machine offers and never falls back to "none", which must be asked for by name.

    Where several engines share a machine as one, its slots are `workers` of `all_slots`, from `first_slot` on: cores
    and users go by that number. The names of its sessions begin with `session_prefix`.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        preload: tuple[str, ...] = ("numpy", "sympy"),
        isolation: Literal["auto", "jail", "pod", "none"] = "auto",
        max_queue: int = 1024,
        max_sessions: int = 64,
        session_ttl_seconds: float = 600.0,
        first_slot: int = 0,
        all_slots: int | None = None,
        session_prefix: str = "",
    ) -> None:
        self._workers = workers or len(os.sched_getaffinity(0))
        self._first_slot, self._all_slots, self._session_prefix = first_slot, all_slots, session_prefix
        self._preload, self._isolation = preload, isolation
        self._max_queue, self._max_sessions, self._ttl = max_queue, max_sessions, session_ttl_seconds
        self._pool: Pool | None = None
        self._free: deque[SlotHandle] = deque()
        self._waiting: deque[asyncio.Future[SlotHandle]] = deque()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._opening: Counter[SlotHandle] = Counter()
        self._lost: OrderedDict[str, str] = OrderedDict()  # why sessions ended, for those who still ask
        self._outcomes: Counter[str] = Counter()
        self._kills: Counter[str] = Counter()
        self._bytes_dropped = self._runs = 0
        self._janitor: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Probe the machine, start the zygotes and warm them; seconds.

        Raises:
            SandboxUnavailable: the tier asked for is not to be had here; the message names what is missing and how
                to provide it.
            InputError: this process may have too few open files for so many workers.
        """
        check_limit(raise_limit(), needed(self._workers), f"{self._workers} workers")
        tier = choose_tier(self._isolation)
        if tier.name == "none":
            warnings.warn(
                "isolation is off: programs run with the rights of this process", RuntimeWarning, stacklevel=2
            )
        self._pool = Pool(
            self._workers, self._preload, tier, self._slot_free, self._session_ended, self._slot_died,
            first=self._first_slot, among=self._all_slots or self._workers,
        )  # fmt: skip
        try:
            await self._pool.start()
        except BaseException:
            await self._pool.close()
            raise
        self._janitor = asyncio.create_task(self._end_idle_sessions())

    async def close(self) -> None:
        """End every run and session, and every process of this engine. Closing twice does nothing."""
        if self._janitor is not None:
            self._janitor.cancel()
        if self._pool is not None:
            await self._pool.close()
        for future in self._waiting:
            if not future.done():
                future.set_exception(SandboxUnavailable("the engine was closed"))
        for name in list(self._sessions):
            self._session_ended(name, "the engine was closed")

    def status(self) -> EngineStatus:
        pool = self._ready()
        return EngineStatus(
            isolation=pool.tier.name,
            workers=self._workers,
            busy=self._workers - len(self._free),
            queued=sum(not future.done() for future in self._waiting),
            live_sessions=len(self._sessions),
            zygote_restarts=pool.restarts,
            supervisor_faults=pool.faults,
            bytes_dropped=self._bytes_dropped,
            runs=self._runs,
            outcomes=dict(self._outcomes),
            kills=dict(self._kills),
            notes=pool.tier.notes,
        )

    # -- runs --------------------------------------------------------------------------------------------------

    async def run(self, request: ExecRequest) -> ExecResult:
        """Run a program in a fresh process. Cancelling the task kills it.

        Raises:
            BadRequest: it cannot be run as asked.
            Overloaded: the queue is full, or `queue_seconds` passed in it; nothing was run.
            SandboxUnavailable: a process of the engine died meanwhile.
        """
        request.check()
        turn, queued = await self._acquire(request.queue_seconds)
        try:
            return await self._execute(turn, turn.slot, request, queued)
        finally:
            turn.end()

    async def _execute(
        self, turn: Turn, slot: SlotHandle, request: ExecRequest, queued: float, session: Session | None = None
    ) -> ExecResult:
        name = secrets.token_hex(8)
        message: dict[str, Any] = {"id": name, "limits": request.limits.to_json()}
        if session is None:
            message |= {"op": "run", "kind": slot.kind_for(request.code)}
        else:
            message |= {"op": "cell", "session": session.name}
        try:
            pipes = Pipes(request)
        except OSError as error:
            raise _exhausted(error) from None
        try:
            seen, work = await slot.ask(name, message, pipes, turn.end)
            pipes.drain()
        finally:
            pipes.close()
        names = request.fetch + (figures_drawn(pipes.report()) if request.fetch_figures else ())
        try:
            files = await _fetch(work, names)
        except (OSError, SandboxUnavailable) as error:
            if session is None:
                raise _exhausted(error) from None
            # It ran: to let it be asked for again would run it twice.
            await self._end_session(session, f"the outcome of its last cell was lost ({error})")
            raise SessionLost(f"session {session.name}: {self._lost[session.name]}") from None
        assert self._pool is not None
        result = make_result(
            request, seen, (pipes.stdout, pipes.stderr), pipes.report(), files=files, queue_seconds=queued,
            isolation=self._pool.tier.name, session=session is not None,
        )  # fmt: skip
        self._count(result)
        if session is not None and result.state_lost:
            self._forget(session.name, f"its last cell ended it ({result.status})")
        return result

    def _count(self, result: ExecResult) -> None:
        self._runs += 1
        self._outcomes[result.status] += 1
        if result.status in ("timeout", "memory_limit", "killed"):
            self._kills[result.status] += 1
        cut = result.truncated
        self._bytes_dropped += cut.stdout + cut.stderr + cut.value

    async def _acquire(self, most_seconds: float) -> tuple[Turn, float]:
        """A turn on a slot and the seconds it took to get it."""
        self._ready()
        if self._free:
            return Turn(self._free.popleft(), self._slot_free), 0.0
        waiting = sum(not future.done() for future in self._waiting)
        if waiting >= self._max_queue:
            raise Overloaded(f"{waiting} requests are waiting, max_queue is {self._max_queue}; try again later")
        future: asyncio.Future[SlotHandle] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        began = time.monotonic()
        late = asyncio.get_running_loop().call_later(most_seconds, _give_up, future, most_seconds)
        try:
            slot = await future
        except BaseException:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._slot_free(future.result())  # it came at the moment we gave up
            raise
        finally:
            late.cancel()
        return Turn(slot, self._slot_free), time.monotonic() - began

    def _slot_free(self, slot: SlotHandle) -> None:
        """Give a slot to the first who waits for one."""
        if not slot.alive:
            return  # its replacement reports itself free
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(slot)
                return
        self._free.append(slot)

    def _ready(self) -> Pool:
        if self._pool is None or self._pool.closed:
            raise SandboxUnavailable("the engine is not running; await start() first")
        return self._pool

    # -- sessions ----------------------------------------------------------------------------------------------

    async def open_session(self, *, ttl_seconds: float | None = None, limits: Limits = Limits()) -> str:  # noqa: B008 - frozen
        """The id of a new session: a process that keeps its state between cells, `ttl_seconds` when idle.

        `limits` hold for its files and, until its cells bring their own, for all else. At the cap, the session that
        was idle longest is ended to make room.

        Raises:
            Overloaded: as many sessions as allowed are live and every one is running a cell.
        """
        pool = self._ready()
        limits.check()
        self._make_room()
        name = self._session_prefix + secrets.token_urlsafe(12)
        slot = min(pool.slots, key=self._sessions_of)
        self._opening[slot] += 1
        try:
            order = {"op": "open", "id": name, "limits": limits.to_json(), "kind": slot.kind_for_session()}
            await slot.open(name, order)
        finally:
            self._opening[slot] -= 1
        self._sessions[name] = Session(name, slot, limits, ttl_seconds or self._ttl)
        return name

    def _sessions_of(self, slot: SlotHandle) -> int:
        return self._opening[slot] + sum(session.slot is slot for session in self._sessions.values())

    async def run_in_session(self, session_id: str, request: ExecRequest) -> ExecResult:
        """Run a cell. After a limit or an exit the result says `state_lost` and the session is gone.

        Raises:
            SessionLost: there is no such session any more; the message says why.
            SessionBusy: another cell is running in it.
        """
        request.check()
        session = self._session(session_id)
        session.busy = True
        try:
            turn, queued = await self._acquire(request.queue_seconds)
            try:
                self._session(session_id, busy=True)
                result = await self._execute(turn, session.slot, request, queued, session)
            finally:
                turn.end()
        finally:
            self._rest(session)
        return result

    async def fork_session(self, session_id: str) -> str:
        """The id of a copy of a session, memory and files; neither sees what the other does from now on.

        Raises:
            SessionLost: there is no such session any more.
            SessionBusy: a cell is running in it, or it has threads, child processes, open files or shared memory.
            SandboxUnavailable: the machine allows no nested namespaces, or the chain of forks is 30 deep.
            Overloaded: as many sessions as allowed are live and every one is running a cell.
        """
        session = self._session(session_id)
        session.busy = True
        try:
            self._make_room()
            name = self._session_prefix + secrets.token_urlsafe(12)
            await session.slot.open(name, {"op": "fork", "id": name, "session": session_id})
        finally:
            self._rest(session)
        self._sessions[name] = Session(name, session.slot, session.limits, session.ttl_seconds)
        return name

    async def close_session(self, session_id: str) -> None:
        """End a session and return when its processes are gone. One that is gone already is no error."""
        if session := self._sessions.get(session_id):
            await self._end_session(session, "it was closed")

    def _session(self, name: str, *, busy: bool = False) -> Session:
        self._ready()
        if name not in self._sessions:
            raise SessionLost(f"session {name}: {self._lost.get(name, 'there is no such session')}")
        session = self._sessions[name]
        if session.busy and not busy:
            raise SessionBusy(f"session {name} is running another cell")
        return session

    def _rest(self, session: Session) -> None:
        """Nothing runs in the session any more; it is now the one used last."""
        session.busy = False
        session.used = time.monotonic()
        if session.ended is not None:
            self._forget(session.name, session.ended)
        elif session.name in self._sessions:
            self._sessions.move_to_end(session.name)

    def _make_room(self) -> None:
        if len(self._sessions) < self._max_sessions:
            return
        for session in self._sessions.values():
            if not session.busy:
                reason = f"it was idle longest when max_sessions = {self._max_sessions} was reached"
                self._forget(session.name, reason)
                session.slot.close_session(session.name, reason)
                return
        raise Overloaded(f"{len(self._sessions)} sessions are live and all are running; max_sessions is reached")

    async def _end_session(self, session: Session, reason: str) -> None:
        self._forget(session.name, reason)
        await session.slot.end_session(session.name, reason)

    async def _end_idle_sessions(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._ttl / 4))
            now = time.monotonic()
            self._ready().save_memory()
            for session in list(self._sessions.values()):
                if not session.busy and now - session.used > session.ttl_seconds:
                    await self._end_session(session, f"it was idle for more than {session.ttl_seconds:g} seconds")

    def _session_ended(self, name: str, reason: str) -> None:
        """A slot reports the end of a session, whoever caused it."""
        session = self._sessions.get(name)
        if session is not None and session.busy:
            session.ended = reason  # the cell's own result says it better
        else:
            self._forget(name, reason)

    def _slot_died(self, slot: SlotHandle) -> None:
        with suppress(ValueError):
            self._free.remove(slot)
        for session in [session for session in self._sessions.values() if session.slot is slot]:
            self._session_ended(session.name, "the process that held it died")

    def _forget(self, name: str, reason: str) -> None:
        if self._sessions.pop(name, None) is not None:
            self._lost[name] = reason
            while len(self._lost) > 4096:
                self._lost.popitem(last=False)
