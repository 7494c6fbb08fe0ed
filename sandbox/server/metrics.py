"""What the server counts, for Prometheus.

Counters and times are kept here as results pass; the engine's own numbers are read when a scrape asks for them.
"""

from __future__ import annotations

import functools
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sandbox.errors import SandboxError
from sandbox.types import ExecResult

if TYPE_CHECKING:
    from sandbox.engine import EngineStatus

T = TypeVar("T")

# From a trivial run (2 ms) to the longest default run and a queue that is full.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The server's metrics; `engine_status` is asked at each scrape.

    `counted_elsewhere` says of a run whether another process of this server has sent it here, and counts it.
    """

    def __init__(
        self, engine_status: Callable[[], EngineStatus], counted_elsewhere: Callable[[], bool] = lambda: False
    ) -> None:
        self._counted_elsewhere = counted_elsewhere
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine_status))

        def histogram(name: str, help_text: str) -> _Seconds:
            self._registry.register(seconds := _Seconds(name, help_text))
            return seconds

        self._queue = histogram("sandbox_queue_seconds", "Time a program waited before it began")
        self._execution = histogram("sandbox_execution_seconds", "A program's own time on the clock")
        self._kill = histogram(
            "sandbox_kill_seconds", "Time from a program's end or limit until all its processes were gone"
        )
        self._outcomes = Counter(
            "sandbox_outcomes", "Programs and cells by outcome", ["kind", "status"], registry=self._registry
        )
        self._outcome = functools.cache(self._outcomes.labels)  # the library's own search takes longer than to count
        self._failures = Counter(
            "sandbox_failures",
            "Requests that failed by the sandbox's fault, by class",
            ["type"],
            registry=self._registry,
        )
        self._dropped = Counter("sandbox_dropped_bytes", "Output bytes left out of results", registry=self._registry)

    async def observe(self, kind: Literal["run", "cell"], work: Awaitable[ExecResult]) -> ExecResult:
        """The result of `work`, counted."""
        if kind == "run" and self._counted_elsewhere():
            return await work
        began = time.perf_counter()
        result = await self.failing(work)
        spent = time.perf_counter() - began
        self._outcome(kind, result.status).inc()
        self._queue.add(result.queue_seconds)
        self._execution.add(result.wall_seconds)
        self._kill.add(max(0.0, spent - result.queue_seconds - result.wall_seconds))
        dropped = result.truncated.stdout + result.truncated.stderr + result.truncated.value
        if dropped:
            self._dropped.inc(dropped)
        return result

    async def failing(self, work: Awaitable[T]) -> T:
        """What `work` gives; if it fails, that is counted."""
        try:
            return await work
        except SandboxError as error:
            self._failures.labels(type(error).__name__).inc()
            raise

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


class _Seconds(Collector):
    """A histogram of seconds. The library's own takes ten times as long to count one."""

    def __init__(self, name: str, help_text: str) -> None:
        self._name, self._help = name, help_text
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        bounds = (*map(str, _SECONDS), "+Inf")
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        yield HistogramMetricFamily(self._name, self._help, buckets=buckets, sum_value=self._sum)


class _EngineCollector(Collector):
    def __init__(self, engine_status: Callable[[], EngineStatus]) -> None:
        self._status = engine_status

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield GaugeMetricFamily("sandbox_workers", "Slots", value=status.workers)
        yield GaugeMetricFamily("sandbox_busy", "Slots that run a program", value=status.busy)
        yield GaugeMetricFamily("sandbox_queue_length", "Programs that wait for a slot", value=status.queued)
        yield GaugeMetricFamily("sandbox_sessions", "Live sessions", value=status.live_sessions)
        yield CounterMetricFamily(
            "sandbox_zygote_restarts", "Zygotes that died and were replaced", value=status.zygote_restarts
        )
        yield CounterMetricFamily(
            "sandbox_supervisor_faults",
            "Failures of ours over one program, which was told so; the supervisor went on",
            value=status.supervisor_faults,
        )
