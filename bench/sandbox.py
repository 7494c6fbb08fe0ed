"""How many programs a second the sandbox runs, beside a cold interpreter and beside no sandbox at all.

    python bench/sandbox.py ../shared/data/trajectories/tora_code_34b.gsm8k.jsonl [MORE…]

Starts the server as shipped and drives it over HTTP at concurrency 8 with the programs of each file (the python blocks
of "solution"), those that end within one second. One JSON line a workload. Measured in the same run, on the same
programs: `cold`, an unisolated `python -c` a program, as many at a time as there are slots; `limit`, the programs
exec'd in one warm unisolated process a slot, which no sandbox can exceed; `fork`, each in a fork of a process warmed
as ours is and still nothing isolated, so that what lies between it and ours is the price of isolation. Ratios are to
these, within each of `--rounds` rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds this file, whose name is the package's

from sandbox import AsyncSandbox, AsyncSession, ExecRequest, ExecResult, Limits  # noqa: E402
from sandbox.engine.environment import ENVIRONMENT  # noqa: E402
from sandbox.guest.warmup import warm_up  # noqa: E402
from sandbox.jail import linux  # noqa: E402

CONCURRENCY = 8
ONE_SECOND = Limits(wall_seconds=1.0, cpu_seconds=1.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("programs", nargs="+", type=Path, metavar="PROGRAMS", help="JSON Lines with a solution each")
    parser.add_argument("--limit", type=int, default=400, help="programs of each file (0: all)")
    parser.add_argument("--cold", type=int, default=60, help="programs for the cold interpreter, which is slow")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is measured; medians are printed")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="slots")
    arguments = parser.parse_args()
    if missing := [str(path) for path in arguments.programs if not path.is_file()]:
        parser.error(f"no such file: {', '.join(missing)}")
    programs = {path: read_programs(path, arguments.limit) for path in arguments.programs}
    if empty := [str(path) for path, found in programs.items() if not found]:
        parser.error(f'no python block in any "solution" of {", ".join(empty)}')
    with serving(arguments.workers) as (pid, url):
        report(workload="idle", workers=arguments.workers, pss_mib=round(pss_mib(pid), 1))
        asyncio.run(latencies(url))
        for path, found in programs.items():
            measure(path.name, found, url, arguments.cold, arguments.workers, arguments.rounds)
    return 0


def measure(file: str, programs: list[str], url: str, cold_count: int, workers: int, rounds: int) -> None:
    """Print the workloads of one file: medians over rounds, each of which takes all of them, one after the other."""
    programs = asyncio.run(within_a_second(url, programs))
    workloads: dict[str, Callable[[], dict[str, Any]]] = {
        "cold": lambda: run_cold(programs[:cold_count], workers),
        "limit": lambda: run_warm(programs, workers, import_libraries, exec_all),
        "fork": lambda: run_warm(programs, workers, warm_as_ours, fork_all),
        "http single": lambda: asyncio.run(run_single(AsyncSandbox(url), programs)),
        "http batch": lambda: asyncio.run(run_batch(AsyncSandbox(url), programs)),
        "embedded": lambda: asyncio.run(run_single(AsyncSandbox(workers=workers), programs)),
    }
    taken = [{name: work() for name, work in workloads.items()} for _ in range(rounds)]

    def ratio(name: str, to: str) -> float:
        return statistics.median(round_[name]["per_second"] / round_[to]["per_second"] for round_ in taken)

    for name in workloads:
        rates = sorted(round_[name]["per_second"] for round_ in taken)
        middle = sorted(taken, key=lambda round_: float(round_[name]["per_second"]))[rounds // 2][name]
        ratios = {
            "of_limit": round(ratio(name, "limit"), 3),
            "of_fork": round(ratio(name, "fork"), 3),
            "times_cold": round(ratio(name, "cold"), 2),
        }
        report(workload=name, file=file, rounds=rounds, slowest=rates[0], fastest=rates[-1], **ratios, **middle)


def read_programs(path: Path, limit: int) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        solutions = [json.loads(line)["solution"] for line in lines]
    programs = [block for text in solutions for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    return programs[:limit] if limit else programs


async def within_a_second(url: str, programs: list[str]) -> list[str]:
    requests = [ExecRequest(code=code, mode="script", limits=ONE_SECOND) for code in programs]
    async with AsyncSandbox(url) as sandbox:
        results = [result async for result in sandbox.run_many(requests)]
    return [code for code, result in zip(programs, results, strict=True) if result.status != "timeout"]


async def run_single(sandbox: AsyncSandbox, programs: list[str]) -> dict[str, Any]:
    """One `run` a program, `CONCURRENCY` at a time."""
    waiting: Iterator[str] = iter(programs)
    seconds: list[float] = []
    outcomes: Counter[str] = Counter()

    async def client() -> None:
        for code in waiting:
            began = time.perf_counter()
            result = await sandbox.run(code, mode="script")
            seconds.append(time.perf_counter() - began)
            outcomes[result.status] += 1

    async with sandbox:
        await sandbox.run("1")
        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CONCURRENCY)))
        return rate(len(programs), time.perf_counter() - began) | percentiles(seconds) | {"outcomes": dict(outcomes)}


async def run_batch(sandbox: AsyncSandbox, programs: list[str]) -> dict[str, Any]:
    requests = [ExecRequest(code=code, mode="script") for code in programs]
    async with sandbox:
        await sandbox.run("1")
        began = time.perf_counter()
        outcomes = Counter([result.status async for result in sandbox.run_many(requests)])
        return rate(len(programs), time.perf_counter() - began) | {"outcomes": dict(outcomes)}


def run_cold(programs: list[str], workers: int) -> dict[str, Any]:
    """A new interpreter a program, `workers` at a time, nothing isolated."""
    seconds: list[float] = []

    async def client(waiting: Iterator[str]) -> None:
        for code in waiting:
            began = time.perf_counter()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            await process.wait()
            seconds.append(time.perf_counter() - began)

    async def run() -> None:
        waiting = iter(programs)
        await asyncio.gather(*(client(waiting) for _ in range(workers)))

    began = time.perf_counter()
    asyncio.run(run())
    return rate(len(programs), time.perf_counter() - began) | percentiles(seconds)


def run_warm(
    programs: list[str], workers: int, warm: Callable[[], None], execute: Callable[[list[str]], None]
) -> dict[str, Any]:
    """The programs in `workers` warm processes, nothing isolated."""
    ready, told = os.pipe()
    go_read, go_write = os.pipe()
    done_read, done_write = os.pipe()
    children = []
    for index in range(workers):
        if (child := os.fork()) == 0:
            warm()
            os.write(told, b".")
            os.read(go_read, 1)
            execute(programs[index::workers])
            os.write(done_write, b".")
            os._exit(0)
        children.append(child)
    for _ in range(workers):
        os.read(ready, 1)
    began = time.perf_counter()
    os.write(go_write, b"." * workers)
    for _ in range(workers):
        os.read(done_read, 1)
    spent = time.perf_counter() - began
    for child in children:
        os.waitpid(child, 0)
    for descriptor in (ready, told, go_read, go_write, done_read, done_write):
        os.close(descriptor)
    return rate(len(programs), spent)


def import_libraries() -> None:
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    exec_all(["import numpy, sympy\nx = sympy.Symbol('x')\nsympy.solve(x**2 - 2, x)"])


def warm_as_ours() -> None:
    os.environ.update(ENVIRONMENT)
    warm_up(["numpy", "sympy"], os.open("/proc", os.O_PATH | os.O_DIRECTORY))


def fork_all(programs: Iterable[str]) -> None:
    """Each program in a fork of this process, one after the other."""
    for code in programs:
        if (child := linux.fork()) == 0:
            exec_all([code])
            os._exit(0)
        os.waitpid(child, 0)


def exec_all(programs: Iterable[str]) -> None:
    """The programs one after the other in this process, nothing cleaned up between two."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    for code in programs:
        signal.setitimer(signal.ITIMER_REAL, 5.0)
        with (
            contextlib.suppress(BaseException),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
        signal.setitimer(signal.ITIMER_REAL, 0)


async def latencies(url: str) -> None:
    """Print what a trivial run, a cell and a fork take, one at a time."""
    async with AsyncSandbox(url) as sandbox:

        async def run() -> ExecResult:
            return await sandbox.run("1 + 1")

        report(workload="trivial run", **await timed(run, 300))
        async with sandbox.session() as session:

            async def cell() -> ExecResult:
                return await session.run("1 + 1")

            report(workload="cell in a session", **await timed(cell, 300))
            report(workload="session fork", **await timed(session.fork, 50))


async def timed(action: Callable[[], Awaitable[ExecResult | AsyncSession]], count: int) -> dict[str, Any]:
    seconds = []
    for _ in range(5 + count):
        began = time.perf_counter()
        outcome = await action()
        seconds.append(time.perf_counter() - began)
        if isinstance(outcome, AsyncSession):
            await outcome.close()
    return {"count": count} | percentiles(seconds[5:])


def rate(count: int, seconds: float) -> dict[str, Any]:
    return {"programs": count, "seconds": round(seconds, 3), "per_second": round(count / seconds, 1)}


def percentiles(seconds: list[float]) -> dict[str, Any]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"p{share}_ms": round(1000 * cuts[share - 1], 2) for share in (50, 95, 99)}


@contextlib.contextmanager
def serving(workers: int) -> Iterator[tuple[int, str]]:
    command = [sys.executable, "-m", "sandbox", "serve", "--port", "0", "--workers", str(workers)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    try:
        if "listening on " not in line:
            raise SystemExit(line + process.stderr.read())
        yield process.pid, line.split("listening on ")[1].split(" ")[0]
    finally:
        process.terminate()
        process.wait()


def pss_mib(pid: int) -> float:
    """The proportional memory of a process and all below it."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            total = int(line.split()[1])
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text().split()
        total += sum(int(1024 * pss_mib(int(child))) for child in children)
    return total / 1024


def report(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    sys.exit(main())
