"""Chunks worked on by actors of a Ray cluster: the same results as by processes of this machine.

The driver cuts chunks as actors become free and writes each part as it comes. Two chunks an actor are on their way, so
that none waits for the network; nothing else is held. An actor keeps no state: where one dies, or its node, others do
its chunks again, and another is started as soon as there is room.
"""

from __future__ import annotations

import io
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from dataset.chunks import GO_ON, Chunk, Counts, OpenWork, part_file
from dataset.cluster import Node, check_node, joined, this_node
from sandbox.errors import InputError, SandboxError, SandboxUnavailable

_AHEAD = 2  # chunks an actor: the one it works on and the next
_MOST_DEATHS = 5  # of workers on one chunk, and of workers before any of them began
_NO_WORKER_SECONDS = 300.0  # an autoscaler may have to start a machine first

Answer = tuple[Literal["done"], str, Counts] | tuple[Literal["sandbox", "input", "mistake"], str]


class _Actor:
    """A worker's life on a node: `dataset.processes` has its twin."""

    def __init__(self, open_work: OpenWork) -> None:
        self._open_work = open_work
        self._stack = ExitStack()
        self._work: Any = None

    def where(self) -> Node:
        return this_node()

    def work(self, chunk: Chunk) -> Answer:
        try:
            if self._work is None:
                self._work = self._stack.enter_context(self._open_work())
            file = io.StringIO()
            counts = self._work(chunk, file)
            return "done", file.getvalue(), counts
        except SandboxError as error:
            return "sandbox", str(error)
        except InputError as error:
            return "input", str(error)
        except Exception:  # noqa: BLE001 - whatever it is, the driver must say it
            return "mistake", traceback.format_exc()


@dataclass(slots=True, eq=False)
class _Worker:
    """An actor as the driver knows it; `node` is None until it has begun."""

    actor: Any
    begun: Any  # ObjectRef of its Node
    node: Node | None = None
    # By ObjectRef of the answer, in order; kept until it is here, to be given to another worker if this one dies.
    chunks: dict[Any, Chunk] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RayActors:
    """Actors of the Ray cluster at `address`, one CPU each: `count`, or as many as the cluster has CPUs.

    With more than it has CPUs the others begin when there are more: an autoscaler sees that they wait.
    """

    address: str
    count: int | None = None

    def run(self, chunks: Iterator[Chunk], open_work: OpenWork) -> Iterator[tuple[int, Counts]]:
        """See `Workers.run`."""
        first = next(chunks, None)
        if first is None:
            return
        with joined(self.address):
            import ray

            crew = _Crew(self.count or max(1, int(ray.cluster_resources().get("CPU", 0))), open_work)
            yield from crew.work_on(chain([first], chunks))


class _Crew:
    """The actors of one run; they end with the connection."""

    def __init__(self, count: int, open_work: OpenWork) -> None:
        import ray

        self._ray = ray
        # Ray's own retries are off: they would try for ever a chunk that ends whoever works on it.
        self._kind = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        self._open_work = ray.put(open_work)
        self._workers = [self._start() for _ in range(count)]
        self._again: deque[Chunk] = deque()
        self._deaths: Counter[Path | None] = Counter()  # by the part in work; None: before the worker began

    def _start(self) -> _Worker:
        actor = self._kind.remote(self._open_work)
        return _Worker(actor, actor.where.remote())

    def work_on(self, chunks: Iterator[Chunk]) -> Iterator[tuple[int, Counts]]:
        """See `Workers.run`."""
        self._again.append(next(chunks))  # what is left is known before a worker has begun
        while self._hand_out(chunks):
            awaited = {
                ref: worker for worker in self._workers for ref in (worker.chunks if worker.node else [worker.begun])
            }
            ready, _ = self._ray.wait(list(awaited), timeout=_NO_WORKER_SECONDS)
            if not ready and not any(worker.node for worker in self._workers):
                raise SandboxUnavailable(self._no_room())
            for ref in ready:
                worker = awaited[ref]
                try:
                    answer = self._ray.get(ref)
                except self._ray.exceptions.RayTaskError as error:
                    raise RuntimeError(f"in an actor:\n{error}") from None
                except self._ray.exceptions.RayError as error:
                    self._replace(worker, error)
                    continue
                if worker.node is None:
                    check_node(answer)
                    worker.node = answer
                    self._deaths[None] = 0
                else:
                    yield self._finished(worker.chunks.pop(ref), answer, worker.node)

    def _hand_out(self, chunks: Iterator[Chunk]) -> bool:
        """Give every worker that has begun what it lacks; False once nothing is left and nothing on its way."""
        for ahead in range(_AHEAD):
            for worker in self._workers:
                if worker.node and len(worker.chunks) <= ahead:
                    chunk = self._again.popleft() if self._again else next(chunks, None)
                    if chunk is not None:
                        # As an argument, not by `ray.put`: below 100 kB Ray sends it with the call, past its stores.
                        worker.chunks[worker.actor.work.remote(chunk)] = chunk
        return bool(self._again) or any(worker.chunks for worker in self._workers)

    def _finished(self, chunk: Chunk, answer: Answer, node: Node) -> tuple[int, Counts]:
        """Write the part of a chunk that was worked on."""
        if answer[0] == "sandbox":
            raise SandboxUnavailable(f"node {node.name}: {answer[1]} {GO_ON}")
        if answer[0] == "input":
            raise InputError(f"node {node.name}: {answer[1]}")
        if answer[0] == "mistake":
            raise RuntimeError(f"on node {node.name}:\n{answer[1]}")
        _, text, counts = answer
        with part_file(chunk.part) as file:
            file.write(text)
        return len(chunk.lines), counts

    def _replace(self, worker: _Worker, error: Exception) -> None:
        """Put a worker that is gone out of the crew, its chunks at the head of what is left, and start another.

        Raises:
            InputError: so many are gone before they began that none will.
            RuntimeError: so many are gone over one chunk that it is the reason.
        """
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # it may only be out of reach: nobody awaits its answers any more
        chunks = list(worker.chunks.values())
        self._again.extendleft(reversed(chunks))
        blamed = chunks[0].part if chunks else None  # the others wait behind it
        self._deaths[blamed] += 1
        if self._deaths[blamed] == _MOST_DEATHS:
            last = " ".join(str(error).split())
            if blamed is None:
                raise InputError(f"--ray: {_MOST_DEATHS} workers ended before they had begun; the last: {last}")
            begins = f"{chunks[0].file}:{chunks[0].lines[0][0]}"
            raise RuntimeError(f"{_MOST_DEATHS} workers died over the chunk that begins at {begins}; the last: {last}")
        self._workers.append(self._start())

    def _no_room(self) -> str:
        all_of, free = self._ray.cluster_resources().get("CPU", 0), self._ray.available_resources().get("CPU", 0)
        return (
            f"--ray: no worker could begin in {_NO_WORKER_SECONDS:g} s: each takes a CPU, and of {all_of:g} that the "
            f"cluster has {free:g} are free; end what else runs there, or add nodes {GO_ON}"
        )
