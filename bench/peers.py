"""The same programs through different sandboxes' own HTTP APIs: `python bench/peers.py [--fusion URL]`.

Ours is started here and asked through `/v1/execute`, through SandboxFusion's `/run_code` and through NeMo-Skills'
`/execute`; a SandboxFusion server that runs already is asked at the address that --fusion names. The programs are of
four kinds with known outcomes: a sum, sympy, an exception, 200 KB of output. Clients keep their connections. One JSON
line for each door and concurrency: programs a second, wrong outcomes, transport errors.

--turns N instead: `/run_code`, directly and through a relay, by turns with `/v1/execute`; then their ratios,
by the clock and by the processor time of ours, which other work on the machine does not change much.

--restarts instead: SandboxFusion's clients at a relay, whose server is killed twice meanwhile. With --verl PYTHON, an
interpreter that has verl, they are threads of verl's own reward; "below" counts the samples scored below 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parent.parent
# program, what stands at the end of stdout, whether it succeeds
PROGRAMS = (
    ("print(sum(range(1000)))", "499500\n", True),
    ("from sympy import *\nx = symbols('x')\nprint(solve(x**2 - 5*x + 6, x))", "[2, 3]\n", True),
    ("print('before')\n1 / 0", "before\n", False),
    ("print('a' * 200_000)", "aaaa\n", True),
)
Ask = Callable[[aiohttp.ClientSession, str], Awaitable[tuple[str, bool]]]


async def ask_ours(http: aiohttp.ClientSession, code: str) -> tuple[str, bool]:
    limits = {"output_bytes": 1 << 20}
    async with http.post("/v1/execute", json={"code": code, "mode": "script", "limits": limits}) as answer:
        answer.raise_for_status()
        body = await answer.json()
        return body["stdout"], body["status"] == "ok"


async def ask_fusion(http: aiohttp.ClientSession, code: str) -> tuple[str, bool]:
    for attempt in range(3):  # as verl asks: again after 504, up to three times
        async with http.post("/run_code", json={"code": code, "language": "python"}) as answer:
            if answer.status == 504 and attempt < 2:
                await asyncio.sleep(attempt + 1)
                continue
            answer.raise_for_status()
            body = await answer.json()
            assert body["status"] != "SandboxError", body["message"]
            return body["run_result"]["stdout"], body["status"] == "Success"
    raise AssertionError("unreachable")


async def ask_nemo_skills(http: aiohttp.ClientSession, code: str) -> tuple[str, bool]:
    body = {"generated_code": code, "timeout": 30, "language": "python", "max_output_characters": 1 << 20}
    async with http.post("/execute", json=body) as answer:
        answer.raise_for_status()
        told = await answer.json()
        return told["stdout"], told["process_status"] == "completed" and not told["stderr"]


async def measure(url: str, ask: Ask, concurrency: int, seconds: float, *, keep: bool = True) -> dict[str, Any]:
    """Programs a second of `concurrency` clients for `seconds`."""
    counts = {"programs": 0, "wrong": 0, "transport_errors": 0}
    errors: list[str] = []
    end = time.monotonic() + seconds
    turn = itertools.count()
    connector = aiohttp.TCPConnector(limit=0, force_close=not keep)
    async with aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(120)) as http:

        async def client() -> None:
            while time.monotonic() < end:
                code, ending, succeeds = PROGRAMS[next(turn) % len(PROGRAMS)]
                try:
                    stdout, good = await ask(http, code)
                except (aiohttp.ClientError, TimeoutError, AssertionError) as error:
                    counts["transport_errors"] += 1
                    errors.append(f"{type(error).__name__}: {error}"[:200])
                    continue
                counts["programs"] += 1
                counts["wrong"] += not stdout.endswith(ending) or good != succeeds

        began = time.monotonic()
        await asyncio.gather(*(client() for _ in range(concurrency)))
        first = {"first_error": errors[0]} if errors else {}
        return {**counts, **first, "per_second": round(counts["programs"] / (time.monotonic() - began), 1)}


@contextlib.contextmanager
def sandbox(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command of ours that listens, and its address."""
    command = [sys.executable, "-m", "sandbox", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield process, process.stderr.readline().split("listening on ")[1].split(" ")[0]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stderr.close()


def compare(arguments: argparse.Namespace) -> None:
    with sandbox("serve", "--port", "0", "--max-queue", "4096") as (_, ours):
        doors: list[tuple[str, str, Ask]] = [
            ("/v1/execute", ours, ask_ours),
            ("/run_code", ours, ask_fusion),
            ("/execute", ours, ask_nemo_skills),
        ]
        if arguments.fusion:
            doors.append(("SandboxFusion", arguments.fusion, ask_fusion))
        for concurrency in arguments.concurrency:
            for name, url, ask in doors:
                told = asyncio.run(measure(url, ask, concurrency, arguments.seconds))
                print(json.dumps({"door": name, "concurrency": concurrency, **told}), flush=True)


def by_turns(arguments: argparse.Namespace) -> None:
    with (
        sandbox("serve", "--port", "0", "--max-queue", "4096") as (server, ours),
        sandbox("relay", "--to", ours, "--port", "0") as (between, relay),
    ):
        doors: list[tuple[str, str, Ask]] = [
            ("/v1/execute", ours, ask_ours),
            ("/run_code", ours, ask_fusion),
            ("/run_code at a relay", relay, ask_fusion),
        ]
        for concurrency in arguments.concurrency:
            clock = dict.fromkeys((name for name, _, _ in doors), 0.0)
            processor = dict(clock)
            for turn in range(arguments.turns):
                for name, url, ask in doors[turn % 3 :] + doors[: turn % 3]:
                    before = cpu_seconds(server.pid) + cpu_seconds(between.pid)
                    told = asyncio.run(measure(url, ask, concurrency, arguments.seconds))
                    spent = (cpu_seconds(server.pid) + cpu_seconds(between.pid) - before) / told["programs"]
                    clock[name] += told["per_second"] / arguments.turns
                    processor[name] += 1 / spent / arguments.turns
                    line = {
                        "door": name,
                        "concurrency": concurrency,
                        "turn": turn,
                        **told,
                        "cpu_seconds": round(spent, 5),
                    }
                    print(json.dumps(line), flush=True)
            for what, rates in (("second", clock), ("second of processor time", processor)):
                ratios = {name: round(rate / rates["/v1/execute"], 3) for name, rate in rates.items()}
                print(
                    json.dumps({"concurrency": concurrency, f"programs a {what}, to /v1/execute": ratios}), flush=True
                )


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, of those below it, and of those that they have collected."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            stats[int(path.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    below, ticks = [pid], 0
    for each in below:
        ticks += stats[each][1]
        below += [child for child, (parent, _) in stats.items() if parent == each]
    return ticks / os.sysconf("SC_CLK_TCK")


async def verl_threads(python: str, url: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """What verl's own reward tells of `seconds`, which begin when its first line is there."""
    script = str(ROOT / "tests" / "integrations" / "peers" / "verl_fusion.py")
    command = [python, script, url, str(concurrency), str(seconds)]
    verl = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await verl.communicate()
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told


async def kill_and_restart(
    url: str, port: int, seconds: float, concurrency: int, verl: str | None = None
) -> dict[str, Any]:
    """What clients at the relay see while the server behind it is killed after each third of the time."""
    if verl is None:
        clients = asyncio.create_task(measure(url, ask_fusion, concurrency, seconds, keep=False))
    else:
        clients = asyncio.create_task(verl_threads(verl, url, concurrency, seconds))
    for _ in range(2):
        with sandbox("serve", "--port", str(port)) as (server, _):
            await asyncio.sleep(seconds / 3)
            server.kill()
            server.wait()
    with sandbox("serve", "--port", str(port)):
        return await clients


def restarts(arguments: argparse.Namespace) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with sandbox("relay", "--to", f"http://127.0.0.1:{port}", "--port", "0") as (_, url):
        for concurrency in arguments.concurrency:
            told = asyncio.run(kill_and_restart(url, port, arguments.seconds, concurrency, arguments.verl))
            print(json.dumps({"door": "relay, server killed twice", "concurrency": concurrency, **told}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusion", metavar="URL", help="a SandboxFusion server that runs already")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--restarts", action="store_true")
    parser.add_argument("--verl", metavar="PYTHON", help="with --restarts: an interpreter that has verl")
    parser.add_argument("--turns", type=int, default=0)
    given = parser.parse_args()
    (restarts if given.restarts else by_turns if given.turns else compare)(given)
