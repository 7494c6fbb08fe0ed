"""Does a supervisor survive whatever programs do? Random and adversarial bytes on every channel that leads to it.

    python bench/fuzz.py [--seconds 60] [--seed 0] [--workers 2] [--slack 1]

Hostile programs and sessions choose their processes' names, the names of files they map, their files, links, FIFOs and
leases, write to the line and to the report pipe, send descriptors, close theirs, stop, fork and answer the order to
fork with lies. Beside them innocent programs and a session whose answers are known. One JSON line; exit code 1 if a
supervisor or a zygote ended, a fault of ours was counted, an innocent was answered wrongly, late or not at all, or an
attacker's own doing was told as a failure of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds a sandbox.py, which is not the package

from sandbox import AsyncSandbox, BadRequest, ExecResult, Limits, SandboxError, SessionBusy, SessionLost  # noqa: E402

ATTACKERS = 3
LIMITS = Limits(wall_seconds=1.0, cpu_seconds=0.6, memory_bytes=192 << 20, file_bytes=16 << 20, processes=24)
# What an innocent may take, with its own 0.1 s: two cores are busy with five programs. Less than its limit.
INNOCENT_SECONDS, LATE_SECONDS = 3.0, 2.5

PRELUDE = """
import ctypes, fcntl, mmap, os, signal, socket, sys, threading, time, array
libc = ctypes.CDLL(None, use_errno=True)
def quietly(do, *args):
    try: return do(*args)
    except (OSError, ValueError, MemoryError, RuntimeError): return None
"""
# Each uses `b`, random bytes; `n`, a random number below 64; `s`, bytes that are a file's name.
PIECES = (
    "libc.prctl(15, b, 0, 0, 0)",
    "def child():\n    libc.prctl(15, b, 0, 0, 0)\n    os.setsid()\n    time.sleep(0.3)\n    os._exit(0)\n"
    "for _ in range(n % 4 + 1):\n    if os.fork() == 0: child()",
    "fd = quietly(os.open, s, os.O_RDWR | os.O_CREAT)\nif fd:\n    os.truncate(fd, 4096)\n"
    "    libc.mmap.restype = ctypes.c_void_p\n    for _ in range(n * 8):\n"
    "        libc.mmap(None, 4096, n % 4, n % 2 + 1, fd, 0)\n"
    "    os.close(fd)",
    "for k in range(n): quietly(os.write, 191, b)",
    "for k in range(n): quietly(os.write, 191, b'')",
    "quietly(os.write, 191, b'{\"exited\":' + b'[' * (n * 900))",
    "quietly(os.write, 191, b'{\"exited\": %d}' % (n << n))",
    "quietly(os.write, 191, b'{\"unready\": \"' + b + b'\"}')\nif n % 3 == 0: os._exit(70)",
    "line = socket.socket(fileno=os.dup(191)) if quietly(os.fstat, 191) else None\n"
    "if line: quietly(line.sendmsg, [b], [(1, 1, array.array('i', [0, 1, 2] * (n + 1)))])",
    "quietly(os.write, 190, b)",
    "quietly(os.write, 190, b'{\"value\": ' + b'[' * (n * 900))",
    "quietly(os.write, 190, b'{\"value\": \"x\", \"error\": null, \"exit_code\": %d, \"value_cut\": %d}'"
    " % (n - 9, 1 << n))",
    "quietly(os.symlink, b.replace(b'\\0', b'/') or b'/', s)",
    "quietly(os.mkfifo, s)",
    "for _ in range(n * 20):\n    if quietly(os.mkdir, 'd') is None and quietly(os.chdir, 'd') is not None: break\n"
    "quietly(os.chdir, '/box/work')",
    "fd = quietly(os.open, s, os.O_RDWR | os.O_CREAT)\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\n"
    "if fd: quietly(fcntl.fcntl, fd, 1024, n % 3); quietly(fcntl.flock, fd, 2 | 4)",
    "if os.fork() == 0:\n    if os.fork() == 0:\n        time.sleep(0.5)\n    os._exit(0)\nos.wait()",
    "for k in range(3, 64): quietly(os.close, k)\nif n % 2: quietly(os.close, 191 - n % 4 // 2)",
    "quietly(os.dup2, 0, 190 + n % 2)",
    "pairs = [quietly(socket.socketpair) for _ in range(n)]\n"
    "for p in pairs:\n    if p: quietly(p[0].sendmsg, [b'x'], [(1, 1, array.array('i', [0] * 100))])",
    "if os.fork() == 0:\n    time.sleep(0.1)\n    quietly(os.kill, os.getppid(), 18)\n    os._exit(0)\n"
    "os.kill(os.getpid(), signal.SIGSTOP)",
    "quietly(os.kill, -1, n)",
    "x = bytearray(n << 20)",
    "threading.Thread(target=time.sleep, args=(0.2,), daemon=n % 2 == 0).start()",
    "t = time.monotonic() + 0.4\nwhile time.monotonic() < t: pass",
    "quietly(os.rename, '/box/work', '/box/w'); quietly(os.symlink, '/usr/lib', '/box/work')",
    "quietly(lambda: open('/box/x', 'wb').write(b))",
    "quietly(os.chmod, '.', n * 8)",
    "sys.stdout.buffer.write(b * n); sys.stderr.buffer.write(b)",
    # Answers the order to fork in its own words.
    "def lie(new_line):\n    line = socket.socket(fileno=new_line)\n"
    "    for word in (b'{\"branch\": \"init\"}', b, b'{\"branch\": \"program\"}')[n % 3:]: quietly(line.send, word)\n"
    "    if n % 5: line.close()\n    else: line.detach()\n"
    "if m := sys.modules.get('sandbox.guest.runner'): m.branch_off = lie",
    "if m := sys.modules.get('sandbox.guest.runner'):\n    def silent(new_line): os.close(new_line)\n"
    "    m.branch_off = silent",
    "if n % 4 == 0: os._exit(n)",
    "if n % 8 == 0: os.kill(os.getpid(), signal.SIGKILL)",
)  # fmt: skip
ADVERSARIAL = (
    b"",
    b"\xff",
    b"\xff\xfe)(",
    b"\n",
    b") R 1 1",
    b"\0",
    b"{}",
    b"null",
    b'{"done": 1}',
    b"\xed\xa0\x80",
    b"..",
    b"NSpid:\t1",
)


class Fuzz:
    """Attackers and innocents on one sandbox until `seconds` have passed."""

    def __init__(self, sandbox: AsyncSandbox, seconds: float, seed: int, slack: float) -> None:
        self._sandbox, self._end = sandbox, time.monotonic() + seconds
        self._seed, self._slack = seed, slack
        self._innocent = Limits(wall_seconds=INNOCENT_SECONDS * slack)
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest_seconds = 0.0

    async def run(self) -> None:
        tasks = [self._attack(random.Random(f"{self._seed}-{index}")) for index in range(ATTACKERS)]
        await asyncio.gather(*tasks, self._innocent_runs(), self._innocent_session())

    @property
    def _on(self) -> bool:
        return time.monotonic() < self._end

    async def _attack(self, chance: random.Random) -> None:
        while self._on:
            try:
                if chance.random() < 0.5:
                    result = await self._sandbox.run(program(chance), mode="script", limits=LIMITS, fetch=("f0", "f1"))
                    self.outcomes[result.status] += 1
                else:
                    await self._hostile_session(chance)
            except (SessionBusy, SessionLost) as error:
                self.outcomes[type(error).__name__] += 1
            except BadRequest:  # what was fetched is no file
                self.outcomes["BadRequest"] += 1
            except SandboxError as error:
                self.wrong.append(f"an attacker's doing was told as ours: {type(error).__name__}: {error}"[:300])

    async def _hostile_session(self, chance: random.Random) -> None:
        async with self._sandbox.session(limits=LIMITS) as session:
            for _ in range(chance.randrange(1, 4)):
                result = await session.run(program(chance), limits=LIMITS)
                self.outcomes["cell " + result.status] += 1
            async with await session.fork() as branch:
                result = await branch.run(program(chance), limits=LIMITS)
                self.outcomes["branch " + result.status] += 1
                async with await branch.fork():
                    pass

    async def _innocent_runs(self) -> None:
        number = 0
        while self._on:
            number += 1
            code = f"import time\ntime.sleep(0.1)\nprint({number})"
            try:
                result = await self._sandbox.run(code, limits=self._innocent)
            except SandboxError as error:
                self.wrong.append(f"innocent {number}: {type(error).__name__}: {error}"[:300])
            else:
                self._judge(result, f"{number}\n")

    async def _innocent_session(self) -> None:
        async with self._sandbox.session() as session:
            await session.run("n = 0")
            count = 0
            while self._on:
                count += 1
                try:
                    self._judge(await session.run("n += 1; print(n)", limits=self._innocent), f"{count}\n")
                except SandboxError as error:
                    self.wrong.append(f"innocent session at {count}: {type(error).__name__}: {error}"[:300])
                    return
                await asyncio.sleep(0.05)

    def _judge(self, result: ExecResult, expected: str) -> None:
        self.outcomes["innocent"] += 1
        self.slowest_seconds = max(self.slowest_seconds, result.wall_seconds)
        late = result.wall_seconds > LATE_SECONDS * self._slack
        if result.status != "ok" or result.stdout != expected or late:
            self.wrong.append(f"innocent: {result.status} {result.stdout!r} after {result.wall_seconds:.2f} s")


def program(chance: random.Random) -> str:
    """A hostile program of a few pieces, each with bytes of its own."""
    lines = [PRELUDE]
    for piece in chance.sample(PIECES, chance.randrange(1, 6)):
        content = chance.choice(ADVERSARIAL) if chance.random() < 0.5 else chance.randbytes(chance.randrange(1, 400))
        name = chance.choice((b"f0", b"f1", content.replace(b"\0", b"").replace(b"/", b"")[:200] or b"f2"))
        body = "\n".join("    " + line for line in piece.split("\n"))
        lines.append(f"b, n, s = {content!r}, {chance.randrange(64)}, {name!r}")
        lines.append(f"try:\n{body}\nexcept BaseException as error:\n    if isinstance(error, SystemExit): raise")
    return "\n".join(lines)


async def fuzz(seconds: float, seed: int, workers: int, slack: float) -> dict[str, Any]:
    from sandbox.client.embedded import Embedded
    from sandbox.engine import Engine

    engine = Engine(workers=workers, preload=())
    sandbox = AsyncSandbox(patience_seconds=0.5)
    sandbox._door = Embedded(engine)  # the engine's own counters are looked at below
    async with sandbox:
        attack = Fuzz(sandbox, seconds, seed, slack)
        began = time.monotonic()
        await attack.run()
        spent, status = time.monotonic() - began, engine.status()
    return {
        "workload": "fuzz",
        "isolation": status.isolation,
        "seconds": round(spent, 1),
        "seed": seed,
        "outcomes": dict(attack.outcomes),
        "slowest_innocent_seconds": round(attack.slowest_seconds, 3),
        "restarts": status.zygote_restarts,
        "faults": status.supervisor_faults,
        "wrong": len(attack.wrong),
        "wrong_examples": attack.wrong[:8],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slack", type=float, default=1.0, help="how much longer an innocent may take; busy machines")
    arguments = parser.parse_args()
    counts = asyncio.run(fuzz(arguments.seconds, arguments.seed, arguments.workers, arguments.slack))
    print(json.dumps(counts))
    return int(bool(counts["restarts"] or counts["faults"] or counts["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
