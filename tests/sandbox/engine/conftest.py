"""One engine for each user the suite runs as, driven from another process; and the proof that nothing is left over.

The driver is a process of its own, so that root and an ordinary user (uid 1000, no control groups, user
namespaces) run the same rows. As root the interpreter may lie below /root, which that user cannot enter: then the
driver runs in a mount namespace where /root is a passage to the interpreter only.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import errors
from sandbox.coding import result_from_json
from sandbox.types import ExecResult
from tests.processes import descendants, steady

ROOT = Path(__file__).parents[3]
ORDINARY = 1000  # not 65534, which is also what the kernel calls a user whom a namespace does not know

# Reads one JSON order a line, writes one JSON answer a line.
DRIVER = """
import asyncio, json, os, sys, base64, warnings
os.umask(0o077)  # a careful caller's: no program is to notice
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
from sandbox.engine import Engine
from sandbox.errors import SandboxError
from sandbox.coding import result_to_json
from sandbox.types import ExecRequest, Limits

def request_of(order):
    files = {name: base64.b64decode(content) for name, content in order.pop("files", {}).items()}
    limits = Limits(**order.pop("limits", {}))
    fetch = tuple(order.pop("fetch", ()))
    return ExecRequest(files=files, limits=limits, fetch=fetch, **order)

async def obey(engine, verb, order):
    if verb == "run":
        return result_to_json(await engine.run(request_of(order)))
    if verb == "cell":
        return result_to_json(await engine.run_in_session(order.pop("session"), request_of(order)))
    if verb == "open":
        return await engine.open_session(ttl_seconds=order.get("ttl_seconds"), limits=Limits(**order.get("limits", {})))
    if verb == "fork":
        return await engine.fork_session(order["session"])
    if verb == "close":
        return await engine.close_session(order["session"])
    if verb == "cancel":
        task = asyncio.ensure_future(engine.run(request_of(order)))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()
    if verb == "pair":
        return [result_to_json(r) for r in await asyncio.gather(*(engine.run(request_of(o)) for o in order["orders"]))]
    if verb == "beside":  # a fork of a session, and runs that are asked for a moment later
        fork = asyncio.ensure_future(engine.fork_session(order["session"]))
        await asyncio.sleep(0.02)
        runs = await asyncio.gather(*(engine.run(request_of(o)) for o in order["orders"]))
        (branch,) = await asyncio.gather(fork, return_exceptions=True)
        if isinstance(branch, str):
            await engine.close_session(branch)
        return {"results": [result_to_json(run) for run in runs], "fork": type(branch).__name__}
    status = engine.status()
    return {"isolation": status.isolation, "busy": status.busy, "live_sessions": status.live_sessions,
            "restarts": status.zygote_restarts, "faults": status.supervisor_faults}

async def main():
    engine = Engine(workers=2, **json.loads(sys.argv[2]))
    await engine.start()
    print(json.dumps("ready"), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        try:
            answer = {"answer": await obey(engine, order.pop("verb"), order)}
        except SandboxError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)
    await engine.close()

asyncio.run(main())
"""

# A mount namespace in which /root opens to everyone and leads to nothing but the interpreter.
PASSAGE = """
set -e
keep=$(mktemp -d)
mount --bind "$1" "$keep"
mount -t tmpfs -o mode=755 passage /root
mkdir -p "$1"
mount --bind "$keep" "$1"
umount -l "$keep"
rmdir "$keep"
shift
exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@"
"""


def command_as(user: str, options: dict[str, Any]) -> list[str]:
    python = [sys.executable, "-c", DRIVER, str(ROOT), json.dumps(options)]
    if user == "root" or os.geteuid() != 0:
        return python
    if sys.base_prefix.startswith("/root/"):
        return ["unshare", "-m", "sh", "-c", PASSAGE, "sh", sys.base_prefix, *python]
    return ["setpriv", "--reuid", str(ORDINARY), "--regid", str(ORDINARY), "--clear-groups", *python]


CGROUPS = [
    Path("/sys/fs/cgroup", names, path.lstrip("/"))
    for _, names, path in (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    if names in ("memory", "pids")
]


class Box:
    """An engine in another process. `late_seconds`: how long after its limit a program may be answered."""

    late_seconds = 3.0

    def __init__(self, user: str, **options: Any) -> None:
        self.user = user
        self._process = subprocess.Popen(
            command_as(user, options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
            env={"PATH": os.environ["PATH"], "HOME": "/", "SANDBOX_TOKEN": "secret", "OPENAI_API_KEY": "secret"},
            extra_groups=[0, 4] if os.geteuid() == 0 else None,
        )  # fmt: skip
        assert self._answer() == "ready"
        self.run("1")
        self.run("import sympy")
        self.pid = self._process.pid
        # The driver, launcher, warden, mother; two slots, each with a bare and a warm zygote, a spare of each kind (an
        # init and a process that waits for a program), and one that waits for a session's fork.
        deadline = time.monotonic() + 30.0
        while (count := 1 + len(descendants(self.pid))) != 20:
            assert time.monotonic() < deadline, f"the engine has {count} processes at rest, not 20"
            time.sleep(0.05)
        self.resting = self.leftovers()
        readings = 0
        while (readings := readings + 1) < 10:
            time.sleep(0.03)
            if (now := self.leftovers()) != self.resting:
                self.resting, readings = now, 0

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the engine as {self.user} is gone"
        return json.loads(line)

    def do(self, verb: str, **order: Any) -> Any:
        """The answer to an order; errors of ours are raised as what they are."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"verb": verb, **order}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return answer["answer"]

    def run(self, code: str, **order: Any) -> ExecResult:
        return result_from_json(self.do("run", code=code, **order))

    def cell(self, session: str, code: str, **order: Any) -> ExecResult:
        return result_from_json(self.do("cell", session=session, code=code, **order))

    @steady
    def leftovers(self) -> dict[str, int]:
        """How much there is of what a run could leave behind."""
        pids = [self.pid, *descendants(self.pid)]
        folders = [f"soroban-{pid}/session-*" for pid in pids]
        groups = sum(1 for root in CGROUPS for folder in folders for _ in root.glob(folder))
        return {
            "processes": len(pids),
            "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
            # Of the jails only: on the host others mount and unmount.
            "mounts": sum(
                len(Path(f"/proc/{pid}/mounts").read_text().splitlines())
                for pid in pids
                if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
            ),
            "groups": groups,
        }

    def settle(self) -> dict[str, int]:
        """What is left over once the engine has had a moment: the next spare is made after the answer."""
        for _ in range(100):
            if (now := self.leftovers()) == self.resting:
                return {}
            time.sleep(0.03)
        return {name: (self.resting[name], now[name]) for name in now if now[name] != self.resting[name]}

    def assert_like_new(self) -> None:
        """The next program finds nothing of an earlier one: empty folders, and itself the first after its init."""
        after = self.run("import os; sorted(os.listdir('.')), sorted(os.listdir('/tmp')), os.getpid()")
        assert ast.literal_eval(str(after.value)) == ([], [], 2), after

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pids = [self.pid, *descendants(self.pid)]
        self._process.stdin.close()
        assert self._process.wait(20) == 0
        self._process.stdout.close()
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "processes outlive their engine"
        assert not [pid for pid in pids for root in CGROUPS if (root / f"soroban-{pid}").exists()], "groups remain"


BOXES: dict[str, Box] = {}


@pytest.fixture(scope="session", autouse=True)
def _close_boxes() -> Iterator[None]:
    yield
    for box in BOXES.values():
        box.close()
    BOXES.clear()


@pytest.fixture(params=["root", "user"])
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    """An engine as root, and one as an ordinary user; after the test, nothing of it may be left."""
    user = request.param
    if user == "root" and os.geteuid() != 0:
        pytest.skip("needs root: the rows run as the ordinary user that this is")
    if user not in BOXES:
        BOXES[user] = Box(user)
    box = BOXES[user]
    yield box
    assert box.settle() == {}, "left behind: (before, after)"


@pytest.fixture
def must(box: Box) -> Callable[..., ExecResult]:
    """Run a program and compare the fields named; the next program must find a sandbox like new."""

    def check(code: str, limits: dict[str, Any], expected: dict[str, Any], **order: Any) -> ExecResult:
        began = time.monotonic()
        result = box.run(code, limits=limits, **order)
        seconds = time.monotonic() - began
        for name, want in expected.items():
            got = getattr(result, name)
            if callable(want):
                assert want(got), f"{name} is {got!r}: {result}"
            elif isinstance(want, set):
                assert got in want, f"{name} is {got!r}, expected one of {want}: {result}"
            else:
                assert got == want, result
        assert seconds < limits.get("wall_seconds", 10.0) + box.late_seconds, f"answered after {seconds:.1f} seconds"
        box.assert_like_new()
        return result

    return check
