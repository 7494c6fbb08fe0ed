"""A keyed request runs once, whatever becomes of those who asked for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sandbox.engine.idempotency import Outcomes
from sandbox.errors import BadRequest, SandboxUnavailable
from sandbox.types import ExecError, ExecResult


class Work:
    """A run that can be held, counted and seen to be cancelled."""

    def __init__(self) -> None:
        self.starts = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> ExecResult:
        self.starts += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return ExecResult(status="ok", stdout=str(self.starts))


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test(), 10))


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_repeat_joins_the_run_and_later_gets_the_kept_outcome() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        both = [asyncio.create_task(outcomes.once("k", 1, work, 0)) for _ in range(2)]
        await turns()
        work.go.set()
        results = await asyncio.gather(*both)
        again = await outcomes.once("k", 1, work, 0)
        assert work.starts == 1
        assert {result.stdout for result in (*results, again)} == {"1"}

    run(test)


def test_a_key_for_another_request_is_refused() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        work.go.set()
        await outcomes.once("k", 1, work, 0)
        with pytest.raises(BadRequest, match="another request"):
            await outcomes.once("k", 2, work, 0)
        assert work.starts == 1

    run(test)


def test_a_failure_of_the_sandbox_is_told_to_all_who_wait_and_then_forgotten() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        work.error = SandboxUnavailable("worker died")
        both = [asyncio.create_task(outcomes.once("k", 1, work, 0)) for _ in range(2)]
        await turns()
        work.go.set()
        told = await asyncio.gather(*both, return_exceptions=True)
        assert [type(error) for error in told] == [SandboxUnavailable] * 2
        work.error = None
        assert (await outcomes.once("k", 1, work, 0)).stdout == "2"

    run(test)


def test_a_run_dies_with_its_last_caller_and_not_before() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        first, second = (asyncio.create_task(outcomes.once("k", 1, work, 0)) for _ in range(2))
        await turns()
        first.cancel()
        await turns()
        assert work.cancelled == 0
        second.cancel()
        await turns()
        assert work.cancelled == 1
        work.go.set()
        assert (await outcomes.once("k", 1, work, 0)).stdout == "2"

    run(test)


def test_a_retry_within_the_linger_joins_the_same_run() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        first = asyncio.create_task(outcomes.once("k", 1, work, 5))
        await turns()
        first.cancel()
        await turns()
        second = asyncio.create_task(outcomes.once("k", 1, work, 5))
        await turns()
        work.go.set()
        assert (await second).stdout == "1"
        assert work.starts == 1

    run(test)


def test_an_outcome_that_came_while_nobody_waited_is_kept_for_the_retry() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        first = asyncio.create_task(outcomes.once("k", 1, work, 0.05))
        await turns()
        first.cancel()
        work.go.set()
        await asyncio.sleep(0.1)
        assert (await outcomes.once("k", 1, work, 0.05)).stdout == "1"
        assert work.starts == 1

    run(test)


def test_after_the_linger_a_run_that_nobody_asks_for_is_cancelled() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        first = asyncio.create_task(outcomes.once("k", 1, work, 0.02))
        await turns()
        first.cancel()
        await asyncio.sleep(0.1)
        assert work.cancelled == 1

    run(test)


def test_what_is_kept_is_bounded_by_count_and_by_bytes_and_the_oldest_goes_first() -> None:
    async def big() -> ExecResult:
        return ExecResult(status="ok", stdout="x" * 10_000)

    async def test() -> None:
        few = Outcomes(capacity=3)
        for index in range(100):
            await few.once(index, 0, big, 0)
        assert list(few._kept) == [97, 98, 99]
        small = Outcomes(capacity_bytes=50_000)
        for index in range(100):
            await small.once(index, 0, big, 0)
        assert len(small._kept) == 4
        assert small._bytes <= 50_000

    run(test)


def test_closing_cancels_what_lingers() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        first = asyncio.create_task(outcomes.once("k", 1, work, 60))
        await turns()
        first.cancel()
        await turns()
        await outcomes.close()
        await turns()
        assert work.cancelled == 1

    run(test)


def test_what_is_kept_is_bounded_while_an_older_run_goes_on() -> None:
    async def big() -> ExecResult:
        text = "数" * 10_000
        return ExecResult(status="error", error=ExecError("E", text, text))

    async def test() -> None:
        outcomes, slow = Outcomes(capacity_bytes=200_000), Work()
        old = asyncio.create_task(outcomes.once("slow", 1, slow, 0))
        await turns()
        for index in range(100):
            await outcomes.once(index, 0, big, 0)
        assert 0 < len(outcomes._kept) < 6, "counted as they lie in memory, the error's texts, too"
        joined = asyncio.create_task(outcomes.once("slow", 1, slow, 0))
        await turns()
        slow.go.set()
        assert [result.stdout for result in await asyncio.gather(old, joined)] == ["1", "1"]

    run(test)


def test_a_retry_that_finds_a_run_which_failed_while_nobody_waited_is_told_so_and_the_next_runs() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        work.error = SandboxUnavailable("worker died")
        first = asyncio.create_task(outcomes.once("k", 1, work, 5))
        await turns()
        first.cancel()
        await turns()
        work.go.set()
        await turns()
        with pytest.raises(SandboxUnavailable):
            await outcomes.once("k", 1, work, 5)
        work.error = None
        assert (await outcomes.once("k", 1, work, 5)).stdout == "2"

    run(test)


def test_a_run_that_is_given_up_before_its_first_step_keeps_nobody_waiting() -> None:
    async def test() -> None:
        outcomes, work = Outcomes(), Work()
        waiting = asyncio.create_task(outcomes.once("k", 1, work, 5))
        await asyncio.sleep(0)
        outcomes._running["k"].task.cancel()
        await turns()
        assert (work.starts, waiting.done()) == (1, False), "the caller is still there: it is run again"
        work.go.set()
        assert (await waiting).stdout == "1"

    run(test)
