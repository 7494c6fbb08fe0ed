"""What one verification worker does: a chunk of lines through its own sandbox into a part file.

A part file holds one line for each solution that says what became of it, and for usable ones a second line: the row
itself, ready to be written. `dataset.verification.join` reads the first and copies the second.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from dataset.chunks import Chunk, Work
from dataset.files import parse_line, write_line
from dataset.sources import find_source
from dataset.sources.records import Candidate, LeftOut
from dataset.types import solution_to_json
from dataset.verification.check import Outcome, Policy, Runner, Session, check
from sandbox import Sandbox
from sandbox.errors import InputError, SandboxError, Unauthorized
from sandbox.render import Profile
from sandbox.types import ExecResult, Limits

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 8.0  # doubled after each failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a worker must know. `threads`: solutions in flight in one worker. `token` opens the server at `url`.
    `patience_seconds` is how long sandbox trouble is waited out before the run stops.
    """

    policy: Policy
    limits: Limits
    profile: Profile = "tora"
    url: str | None = None
    token: str | None = None
    threads: int = 2
    patience_seconds: float = 60.0

    def config(self) -> dict[str, Any]:
        """The settings that decide the result, for the manifest."""
        return {"outputs": self.policy, "profile": self.profile, "limits": asdict(self.limits)}


def check_with_patience(
    candidate: Candidate,
    sandbox: Runner,
    settings: Settings,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """`check`, begun again from the first block when the sandbox fails, for `settings.patience_seconds`.

    Raises:
        SandboxError: it still fails. Nothing is dropped for it: the run stops and can be started again.
    """
    solution = candidate.solution
    deadline, pause = None, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return check(solution, sandbox, policy=settings.policy, profile=settings.profile, limits=settings.limits)
        except Unauthorized:
            raise
        except SandboxError:
            if deadline is None:
                deadline = clock() + settings.patience_seconds
            if clock() + pause > deadline:
                raise
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def verify_chunk(
    chunk: Chunk, file: IO[str], sandbox: Runner, settings: Settings, pool: ThreadPoolExecutor
) -> dict[str, int]:
    """Verify the lines of `chunk` into `file`; return the counts of kept, dropped, left out and bad."""
    counts = {"kept": 0, "dropped": 0, "left_out": 0, "bad": 0}
    source, stem = find_source(chunk.source), Path(chunk.file).stem
    jobs: list[tuple[int, InputError | tuple[Candidate, Future[Outcome] | Outcome]]] = []
    for number, line in chunk.lines:
        try:
            candidates = source.candidates(parse_line(line), f"{stem}/{number}")
        except InputError as error:
            jobs.append((number, error))
            continue
        jobs.extend((number, (candidate, _begin(candidate, sandbox, settings, pool))) for candidate in candidates)
    for number, job in jobs:
        where = {"file": chunk.file, "line": number}
        if isinstance(job, InputError):
            kind = "left_out" if isinstance(job, LeftOut) else "bad"
            counts[kind] += 1
            write_line(file, {"kind": kind, **where, "problem": str(job)})
            continue
        candidate, begun = job
        outcome = begun.result() if isinstance(begun, Future) else begun
        head = _head(candidate, outcome)
        counts[head["kind"]] += 1
        write_line(file, head | where)
        write_line(file, solution_to_json(outcome.solution))
    return counts


def _begin(
    candidate: Candidate, sandbox: Runner, settings: Settings, pool: ThreadPoolExecutor
) -> Future[Outcome] | Outcome:
    """The outcome of a solution in words; of one with programs a future, so that the next is ready when they run."""
    if candidate.solution.style == "cot":
        return check_with_patience(candidate, sandbox, settings)
    return pool.submit(check_with_patience, candidate, sandbox, settings)


def _head(candidate: Candidate, outcome: Outcome) -> dict[str, Any]:
    solution = outcome.solution
    head: dict[str, Any] = {
        "kind": "kept" if outcome.reason is None else "dropped",
        "id": id_hash(solution.id),
        "group": f"{solution.problem.source}/{solution.style}",
    }
    if outcome.blocks:
        head |= {"blocks": outcome.blocks, "differing": outcome.differing}
    if candidate.recorded_correct is not None:
        head["recorded_correct"] = candidate.recorded_correct
    if outcome.reason is not None:
        head |= {"reason": outcome.reason, "evidence": dict(outcome.evidence)}
    return head


def id_hash(text: str) -> int:
    """A 64-bit hash of an id."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class SandboxWhenNeeded:
    """The sandbox of a worker, opened by the first program: solutions in words need none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._sandbox: Sandbox | None = None

    def _opened(self) -> Sandbox:
        with self._lock:
            if self._sandbox is None:
                if self._settings.url:
                    patience = self._settings.patience_seconds
                    self._sandbox = Sandbox(self._settings.url, token=self._settings.token, patience_seconds=patience)
                else:
                    self._sandbox = Sandbox(workers=1)  # there is one of us for each core
            return self._sandbox

    def run(self, code: str, *, limits: Limits) -> ExecResult:
        return self._opened().run(code, limits=limits)

    def session(self) -> Session:
        return self._opened().session()

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()


@contextmanager
def open_verifier(settings: Settings) -> Iterator[Work]:
    """A worker's `verify_chunk`, with the server at `settings.url` or an engine with one slot of its own."""
    with closing(SandboxWhenNeeded(settings)) as sandbox, ThreadPoolExecutor(settings.threads) as pool:
        yield lambda chunk, file: verify_chunk(chunk, file, sandbox, settings, pool)
