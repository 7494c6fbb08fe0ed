"""Does the server stay as it was, and answer every request exactly once, whatever happens to it?

    python bench/soak.py soak [--requests 10000]     a mixed load; what the server holds before and after
    python bench/soak.py kill [--seconds 60]         the same load while its processes, and itself, are killed (-9)

Every program prints its own number, so that a lost, doubled or exchanged answer is seen. One JSON line each; exit code
1 if an answer is missing, doubled or wrong, or if the server holds more at the end than at the beginning.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds a sandbox.py, which is not the package

from sandbox import AsyncSandbox, ExecRequest, ExecResult, Limits, SandboxError  # noqa: E402
from sandbox.jail import cgroups  # noqa: E402

CLIENTS = 16
WARM_UP = 8500  # requests before the soak: the server remembers 8,192 outcomes, and grows by 30 MiB until it does
SMALL = Limits(memory_bytes=256 << 20)
SHORT = Limits(wall_seconds=0.5)


def limits(number: int) -> Limits:
    return SHORT if number % 100 == 0 else SMALL


# Without a control group, as an ordinary user, each process has a limit of its own: Python raises MemoryError.
TOO_MUCH = "memory_limit" if cgroups.why_unusable() is None else "error"


def programs(number: int) -> tuple[str, str]:
    """The program with this number, and the status it must end with."""
    kind = number % 100
    if kind == 0:
        return f"print({number}, flush=True)\nwhile True: pass", "timeout"
    if kind == 1:
        return f"print({number}, flush=True)\nx = bytearray(1 << 30)\nx[::4096] = b'x' * len(x[::4096])", TOO_MUCH
    if kind == 2:
        return f"import os\nprint({number}, flush=True)\nos.kill(os.getpid(), 9)", "killed"
    if kind == 3:
        return f"import os\nprint({number}, flush=True)\nfor _ in range(5): os.fork() or os.setsid()\nos._exit(0)", "ok"
    if kind < 10:
        return f"print({number})\nprint('x' * 200_000)", "ok"
    if kind < 20:
        return f"print({number})\n1/0", "error"
    if kind < 30:
        return f"import sympy\nx = sympy.Symbol('x')\nprint({number}, sympy.solve(x**2 - {number}, x))", "ok"
    if kind < 40:
        return f"open('left', 'w').write('x' * 10_000)\nprint({number})", "ok"
    return f"print({number})", "ok"


@dataclass
class Tally:
    """What became of the requests."""

    asked: int = 0
    results: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    cells: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)

    def result(self, number: int, result: ExecResult) -> None:
        self.results[result.status] += 1
        expected = programs(number)[1]
        if result.status != expected or result.stdout.split()[:1] != [str(number)]:
            self.wrong.append(f"{number}: {result.status}, expected {expected}: {result.stdout[:60]!r} {result.error}")

    @property
    def answered(self) -> int:
        return self.results.total() + self.errors.total()


class Load:
    """Clients that ask until told to stop: single runs, bulk, and sessions with forks."""

    def __init__(self, sandbox: AsyncSandbox, requests: int | None) -> None:
        self.tally = Tally()
        self._sandbox = sandbox
        self._numbers = iter(range(requests if requests is not None else 1 << 60))
        self.stop = False

    async def run(self) -> None:
        clients = [self._runs(bulk=index % 2 == 0) for index in range(CLIENTS)]
        sessions = [asyncio.create_task(self._sessions()) for _ in range(2)]
        await asyncio.gather(*clients)
        self.stop = True
        await asyncio.gather(*sessions)

    async def _runs(self, bulk: bool) -> None:
        for number in self._numbers:
            if self.stop:
                return
            self.tally.asked += 1
            request = ExecRequest(code=programs(number)[0], mode="script", limits=limits(number))
            try:
                if bulk:
                    result = await self._sandbox.run_in_bulk(request)
                else:
                    result = await self._sandbox.run(request.code, mode="script", limits=limits(number))
            except SandboxError as error:
                self.tally.errors[type(error).__name__] += 1
                self.tally.said[str(error)[:120]] += 1
            else:
                self.tally.result(number, result)

    async def _sessions(self) -> None:
        """Count upwards in a session and its fork: a cell run twice, or a state made anew, shows in the number."""
        while not self.stop:
            try:
                async with self._sandbox.session() as session:
                    await session.run("n = 0")
                    for count in range(1, 6):
                        result = await session.run("n += 1; print(n)")
                        self._cell(result, count)
                    async with await session.fork() as child:
                        self._cell(await child.run("n += 1; print(n)"), 6)
                    self._cell(await session.run("n += 1; print(n)"), 6)
            except SandboxError as error:
                self.tally.cells[type(error).__name__] += 1
                self.tally.said[str(error).split(": ", 1)[-1][:120]] += 1

    def _cell(self, result: ExecResult, count: int) -> None:
        self.tally.cells[result.status] += 1
        # A kill of the cell's own process is the program's outcome to tell (killed, state lost), not a wrong answer.
        if result.status == "ok" and result.stdout != f"{count}\n":
            self.tally.wrong.append(f"cell {count}: {result.stdout!r}")


class Server:
    """A server process, started again on the same port after it was killed."""

    def __init__(self, workers: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._workers = workers
        self.starts = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "sandbox", "serve", "--port", str(self.port), "--workers", str(self._workers)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if "listening" not in line:
            raise SystemExit(line + self.process.stderr.read())
        self.starts += 1

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(60)


def tree(pid: int, depth: int = 0) -> dict[int, int]:
    """A process and all below it, with their depth."""
    found = {pid: depth}
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found |= tree(int(child), depth + 1)
    return found


def holdings(server: int) -> dict[str, float]:
    """What the server and its processes hold of the machine; mounts are those of their own namespaces."""
    descriptors = pss = 0
    mounts: dict[str, int] = {}
    pids = tree(server)
    for pid in pids:
        with contextlib.suppress(OSError):
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                pss += int(line.split()[1]) if line.startswith("Pss:") else 0
            mounts[os.readlink(f"/proc/{pid}/ns/mnt")] = len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    mounts.pop(os.readlink("/proc/self/ns/mnt"), None)
    ours = {f"soroban-{pid}" for pid in pids}
    return {
        "processes": len(pids),
        "descriptors": descriptors,
        "pss_mib": round(pss / 1024, 1),
        "mounts": sum(mounts.values()),
        "cgroups": sum(not ours.isdisjoint(path.parts) for path in folders(Path("/sys/fs/cgroup"))),
    }


def folders(root: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for entry in os.scandir(root):
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
                yield from folders(Path(entry.path))


async def soak(server: Server, requests: int) -> dict[str, Any]:
    assert server.process is not None
    async with AsyncSandbox(f"http://127.0.0.1:{server.port}") as sandbox:
        await Load(sandbox, min(WARM_UP, requests)).run()
        await asyncio.sleep(1)
        before, began = holdings(server.process.pid), time.monotonic()
        load = Load(sandbox, requests)
        await load.run()
        spent = time.monotonic() - began
    await asyncio.sleep(1)
    after = holdings(server.process.pid)
    # Memory may settle anew; what is counted may not grow at all.
    grown = [name for name in ("processes", "descriptors", "mounts", "cgroups") if after[name] > before[name]]
    if after["pss_mib"] > before["pss_mib"] + 10:
        grown.append("pss_mib")
    return outcome("soak", load.tally, spent) | {"before": before, "after": after, "grown": grown}


async def kill(server: Server, seconds: float, chance: random.Random) -> dict[str, Any]:
    killed: Counter[str] = Counter()
    async with AsyncSandbox(f"http://127.0.0.1:{server.port}", patience_seconds=60) as sandbox:
        load = Load(sandbox, None)
        began = time.monotonic()
        running = asyncio.create_task(load.run())
        server_dies = began + chance.uniform(10, 20)
        while time.monotonic() - began < seconds and not running.done():
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            assert server.process is not None
            if time.monotonic() > server_dies:
                server.kill()
                killed["server"] += 1
                await asyncio.to_thread(server.start)
                server_dies = time.monotonic() + chance.uniform(10, 20)
                continue
            below = [(pid, depth) for pid, depth in tree(server.process.pid).items() if depth]
            if below:
                victim, depth = chance.choice(below)
                with contextlib.suppress(OSError):
                    os.kill(victim, signal.SIGKILL)
                    killed[f"depth {depth}"] += 1
        load.stop = True
        await running
        spent = time.monotonic() - began
    # A kill may end a program's own processes: "killed" is then the truth about it.
    load.tally.wrong = [wrong for wrong in load.tally.wrong if ": killed, expected" not in wrong]
    return outcome("kill", load.tally, spent) | {"killed": dict(killed), "server_starts": server.starts}


def outcome(name: str, tally: Tally, seconds: float) -> dict[str, Any]:
    return {
        "workload": name,
        "asked": tally.asked,
        "answered": tally.answered,
        "results": dict(tally.results),
        "errors": dict(tally.errors),
        "cells": dict(tally.cells),
        "said": dict(tally.said.most_common(8)),
        "wrong": len(tally.wrong),
        "wrong_examples": tally.wrong[:5],
        "seconds": round(seconds, 1),
        "per_second": round(tally.asked / seconds, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("soak", "kill"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims of the kills")
    arguments = parser.parse_args()
    server = Server(arguments.workers)
    server.start()
    try:
        if arguments.what == "soak":
            counts = asyncio.run(soak(server, arguments.requests))
        else:
            counts = asyncio.run(kill(server, arguments.seconds, random.Random(arguments.seed)))
    finally:
        server.stop()
    print(json.dumps(counts))
    return int(counts["asked"] != counts["answered"] or counts["wrong"] > 0 or bool(counts.get("grown")))


if __name__ == "__main__":
    sys.exit(main())
