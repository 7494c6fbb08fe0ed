"""CPU time a request of the server's front, and how it is spread, with slots that are simulated: programs take no CPU.

    python bench/fronts.py --processes 1 4 --requests 4000

For each number of processes: a whole server (HTTP, batches, one port), whose engines answer each program after
`--milliseconds` without running it. Clients in a process of their own send single programs on `--connections`
connections, and batches. One JSON line each: requests a second, CPU microseconds a request of all fronts together and
of the busiest. The busiest saturates first: with a core for each front, a second holds 1e6 / `busiest_us` requests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

from sandbox import AsyncSandbox, ExecRequest, ExecResult  # noqa: E402

_SERVE = "--serve"


class Simulated:
    """An engine whose slots answer each program after a while, without running it."""

    milliseconds = 5.0

    def __init__(self, *, workers: int | None = None, **_: Any) -> None:
        self._workers = workers or 1
        self._slots = asyncio.Semaphore(self._workers)
        self.runs = 0

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def status(self) -> Any:
        from sandbox.engine.engine import EngineStatus

        return EngineStatus("none", self._workers, 0, 0, 0, 0, 0, 0, self.runs, {}, {}, ())

    async def run(self, request: ExecRequest) -> ExecResult:
        async with self._slots:
            await asyncio.sleep(self.milliseconds / 1000)
            self.runs += 1
            return ExecResult(status="ok", stdout="42\n", exit_code=0)


def main() -> int:
    if sys.argv[1] == _SERVE:
        return serve_simulated(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--workers", type=int, default=256, help="simulated slots of all processes")
    parser.add_argument("--milliseconds", type=float, default=5.0, help="that a program takes")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=64, help="of clients with single programs")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        servers = [
            (count, *stack.enter_context(serving(count, arguments.workers, arguments.milliseconds)))
            for count in arguments.processes
        ]
        for number in range(arguments.rounds):
            for count, pid, url in servers:
                for kind in ("single", "batch"):
                    measure(number, kind, count, pid, url, arguments.requests, arguments.connections)
    return 0


def measure(number: int, kind: str, count: int, pid: int, url: str, requests: int, connections: int) -> None:
    fronts = [pid] if count == 1 else children(pid)
    before = [cpu_seconds(front) for front in fronts]
    began = time.perf_counter()
    asyncio.run(ask(kind, url, requests, connections))
    spent = time.perf_counter() - began
    used = [1e6 * (cpu_seconds(front) - was) / requests for front, was in zip(fronts, before, strict=True)]
    report = {
        "round": number, "workload": kind, "processes": count, "per_second": round(requests / spent, 1),
        "all_us": round(sum(used)), "busiest_us": round(max(used)),
    }  # fmt: skip
    print(json.dumps(report), flush=True)


async def ask(kind: str, url: str, requests: int, connections: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if kind == "single":
            left = iter(range(requests))
            sandboxes = [await stack.enter_async_context(AsyncSandbox(url)) for _ in range(connections)]

            async def client(sandbox: AsyncSandbox) -> None:
                for _ in left:
                    await sandbox.run("print(6 * 7)", mode="script")

            await asyncio.gather(*map(client, sandboxes))
            return
        program = ExecRequest(code="print(6 * 7)", mode="script")
        clients = [await stack.enter_async_context(AsyncSandbox(url)) for _ in range(16)]

        async def batch(sandbox: AsyncSandbox) -> None:
            async for _ in sandbox.run_many([program] * (requests // len(clients))):
                pass

        await asyncio.gather(*map(batch, clients))


@contextlib.contextmanager
def serving(processes: int, workers: int, milliseconds: float) -> Any:
    command = [sys.executable, __file__, _SERVE, str(processes), str(workers), str(milliseconds)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        if "listening on " not in line:
            raise SystemExit(line + process.stderr.read())
        yield process.pid, line.split("listening on ")[1].split(" ")[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def serve_simulated(processes: int, workers: int, milliseconds: float) -> int:
    from sandbox.server.serve import ServerConfig, serve

    Simulated.milliseconds = milliseconds
    with patch("sandbox.engine.Engine", Simulated):
        serve(ServerConfig(port=0, workers=workers, processes=processes))
    return 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
