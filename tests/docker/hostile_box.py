"""A pytest plugin: the engine's hostile suite, row by row, against a server over HTTP.

    SANDBOX_URL=… SANDBOX_TOKEN=… SANDBOX_CONTAINER=… pytest -p hostile_box tests/sandbox/engine

It puts a box of its own where the suite would start an engine, keeps the rows that run as an ordinary user, and looks
from the host for what they leave behind in the container.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import AsyncSandbox, Sandbox
from sandbox.coding import result_to_json
from sandbox.jail import pod
from sandbox.types import ExecRequest, ExecResult, Limits
from tests.processes import steady

# Rows that a tier does not promise: part of the row's name, and which of the tier's own words on itself says so
# (sandbox/jail/pod.py; doctor and /readyz show them). They are skipped with these words as the reason.
_IN_A_POD = {
    "a million small files": pod.NOT_PROMISED["files"],
    "no rights on its own folder": pod.NOT_PROMISED["folders"],
    "/dev/shm filled": pod.NOT_PROMISED["folders"],
    "buffers of sockets": pod.NOT_PROMISED["memory"],
    "test_cpu_time_of_orphans": pod.NOT_PROMISED["cpu"],
    "test_cpu_time_of_what_a_program_leaves": pod.NOT_PROMISED["cpu"],
    "test_100_runs_give_the_same_bytes": pod.NOT_PROMISED["names"],
    "kill the parent": pod.NOT_PROMISED["names"],
    "the name of the machine": pod.NOT_PROMISED["names"],
    "addresses of the machine": pod.NOT_PROMISED["network"],
    "test_neither_branch_sees": pod.NOT_PROMISED["forks"],
    "test_a_branch_": pod.NOT_PROMISED["forks"],
    "test_nothing_that_a_closed_parent_started": pod.NOT_PROMISED["forks"],
    "test_what_cannot_be_copied": pod.NOT_PROMISED["forks"],
    "test_a_parent_that_times_out_leaves_its_branch": pod.NOT_PROMISED["forks"],
    "test_a_session_forks_into_namespaces": pod.NOT_PROMISED["forks"],
    "test_what_is_made_for_a_branch": pod.NOT_PROMISED["forks"],
    "test_what_a_fork_copies": pod.NOT_PROMISED["forks"],
    "test_descriptors_on_their_way_keep_no_session": pod.NOT_PROMISED["forks"],
    "test_a_session_s_code_meets_none_of_its_branches": pod.NOT_PROMISED["forks"],
    "test_branches_that_have_ended": pod.NOT_PROMISED["forks"],
    "test_a_fork_that_would_not_be_a_copy": pod.NOT_PROMISED["forks"],
    "test_a_fork_bears_any_name": pod.NOT_PROMISED["forks"],
    "test_no_branch_sees_later_writes": pod.NOT_PROMISED["forks"],
    "test_a_word_of_a_branch": pod.NOT_PROMISED["forks"],
    "test_a_fork_that_is_held_up": pod.NOT_PROMISED["forks"],
    "test_a_session_that_dies_under_its_fork": pod.NOT_PROMISED["forks"],
    "test_what_a_branch_puts": pod.NOT_PROMISED["forks"],
}
NOT_PROMISED: dict[str, dict[str, str]] = {
    "jail": {},
    "pod": _IN_A_POD,
    "gvisor": _IN_A_POD
    | {
        "read the host": pod.WITHOUT_LANDLOCK,
        "write to the kernel's files": pod.WITHOUT_LANDLOCK,
        "run a file of its own": pod.WITHOUT_LANDLOCK,
        "calls of another architecture": "gVisor ends a program that makes a 32-bit call",
        "page tables": pod.NOT_PROMISED["memory"],
        "test_memory_that_is_reserved": pod.NOT_PROMISED["memory"],
        "signals that queue up": "gVisor refuses to limit them (sandbox/jail/namespaces.py)",
        "more processes than it may have": "gVisor does not count a user's processes (sandbox/jail/pod.py)",
    },
}
# Rows that say nothing more there than they do elsewhere, and take long.
SLOW = {
    "gvisor": {
        "test_300_runs_leave_nothing": "300 runs take 40 s under gVisor's ptrace platform",
        "multiprocessing by spawn": "three interpreters take longer there than the row's time limit",
    }
}


# What the next program is to find, by a program that looks: its folders are empty, and in the jail it is the first
# process after its init. A plain pod's processes are numbered with all others.
LIKE_NEW = {
    "jail": ("import os; os.listdir('.'), os.listdir('/tmp'), os.getpid()", "([], [], 2)"),
    "pod": ("import os, tempfile; os.listdir('.'), os.listdir(tempfile.gettempdir())", "([], [])"),
}


def _options(order: dict[str, Any]) -> dict[str, Any]:
    order = {name: value for name, value in order.items() if name != "session"}
    if "files" in order:
        order["files"] = {name: base64.b64decode(content) for name, content in order["files"].items()}
    order["limits"] = Limits(**order.get("limits", {}))
    order["fetch"] = tuple(order.get("fetch", ()))
    return order


class RemoteBox:
    """What the suite calls a box: an engine behind a few verbs; this one is a server in a container."""

    user = "user"

    def __init__(self, url: str, token: str | None, container: str, tier: str) -> None:
        self._url, self._token, self._container, self.tier = url, token, container, tier
        # gVisor counts no user's processes: a fork bomb has made hundreds, each traced by ptrace, before it is ended.
        self.late_seconds = 10.0 if tier == "gvisor" else 3.0
        self._sandbox = Sandbox(url, token=token)
        self._sessions: dict[str, Any] = {}
        self.run("1")
        self.run("import sympy")
        # The least of a few looks: the container's own health check comes and goes.
        looks = [self.leftovers() for _ in range(5) if not time.sleep(0.2)]
        self.resting = {name: min(look[name] for look in looks) for name in looks[0]}

    @property
    def pid(self) -> int:
        pytest.skip("looks into the engine's own processes")

    def run(self, code: str, **order: Any) -> ExecResult:
        return self._sandbox.run(code, **_options(order))

    def cell(self, session: str, code: str, **order: Any) -> ExecResult:
        return self._sessions[session].run(code, **_options(order))  # type: ignore[no-any-return]

    def do(self, verb: str, **order: Any) -> Any:
        """The answer to an order; errors of ours are raised as what they are."""
        if verb == "run":
            return result_to_json(self.run(order.pop("code"), **order))
        if verb == "cell":
            return result_to_json(self.cell(order.pop("session"), order.pop("code"), **order))
        if verb == "open":
            return self._keep(
                self._sandbox.session(ttl_seconds=order.get("ttl_seconds"), limits=Limits(**order.get("limits", {})))
            )
        if verb == "fork":
            return self._keep(self._sessions[order["session"]].fork())
        if verb == "close":
            return self._sessions[order["session"]].close()
        if verb == "cancel":
            return asyncio.run(self._cancel(order))
        if verb == "pair":
            requests = [ExecRequest(**_options(each)) for each in order["orders"]]
            return [result_to_json(result) for result in self._sandbox.run_many(requests)]
        if verb == "beside":
            with ThreadPoolExecutor(1) as thread:
                fork = thread.submit(self._sessions[order["session"]].fork)
                time.sleep(0.02)
                results = self.do("pair", orders=order["orders"])
            error = fork.exception()
            if error is None:
                fork.result().close()
            return {"results": results, "fork": type(error).__name__}
        if verb == "status":
            return self._status()
        pytest.skip(f"the verb {verb!r} looks into the engine")

    def _keep(self, session: Any) -> str:
        name = f"session-{len(self._sessions)}"
        self._sessions[name] = session
        return name

    async def _cancel(self, order: dict[str, Any]) -> bool:
        async with AsyncSandbox(self._url, token=self._token) as sandbox:
            task = asyncio.create_task(sandbox.run(order.pop("code"), **_options(order)))
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

    def _status(self) -> dict[str, Any]:
        headers = {} if self._token is None else {"authorization": f"Bearer {self._token}"}
        socket = self._url.removeprefix("unix://") if self._url.startswith("unix://") else None
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), headers=headers) as client:
            answer = client.get(f"{'http://localhost' if socket else self._url}/metrics").raise_for_status()
        lines = answer.text.splitlines()
        numbers = dict(line.split() for line in lines if line.startswith("sandbox_") and "{" not in line)
        fields = {
            "busy": "sandbox_busy",
            "live_sessions": "sandbox_sessions",
            "restarts": "sandbox_zygote_restarts_total",
            "faults": "sandbox_supervisor_faults_total",
        }
        return {"isolation": self.tier} | {field: int(float(numbers[name])) for field, name in fields.items()}

    @steady
    def leftovers(self) -> dict[str, int]:
        """How much there is, in the container, of what a run could leave behind; seen from the host."""
        if self.tier == "gvisor" or os.geteuid() != 0:
            return {}  # gVisor's processes are its own kernel's: the host sees one; without root we see no descriptors
        import docker

        client = docker.from_env()
        try:
            container = client.containers.get(self._container)
            pids = [int(row[1]) for row in container.top()["Processes"]]
        finally:
            client.close()
        mounts = [Path(f"/proc/{pid}/mounts").read_text().count("\n") for pid in pids]
        return {
            "processes": len(pids),
            "descriptors": sum(len(os.listdir(f"/proc/{p}/fd")) for p in pids),
            "mounts": sum(mounts),
        }

    def settle(self) -> dict[str, Any]:
        """What is left over once the engine has had a moment to make its next spare jail."""
        for _ in range(100):
            now = self.leftovers()
            more = {name: (self.resting[name], now[name]) for name in now if now[name] > self.resting[name]}
            more.pop("descriptors", None)  # the server keeps connections open for a while
            if not more:
                return {}
            time.sleep(0.05)
        for session in self._sessions.values():  # a test that failed left its own: no reason for the next to fail
            session.close()
        return more

    def assert_like_new(self) -> None:
        """The next program finds nothing of an earlier one, as far as the tier can promise it."""
        code, value = LIKE_NEW["jail" if self.tier == "jail" else "pod"]
        after = self.run(code)
        assert after.value == value, after

    def close(self) -> None:
        self._sandbox.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Of the tests that start no engine of their own, those that run as an ordinary user.
    kept = [item for item in items if "box" in item.fixturenames and "[root" not in item.name]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    for item in items:
        for part, reason in SLOW.get(os.environ["SANDBOX_TIER"], {}).items():
            if part in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))
        for part, promise in NOT_PROMISED[os.environ["SANDBOX_TIER"]].items():
            if part in item.name:
                item.add_marker(pytest.mark.skip(reason=f"not promised by this tier: {promise}"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Put our box where the suite's own fixture looks for one."""
    for plugin in session.config.pluginmanager.get_plugins():
        if hasattr(plugin, "BOXES") and session.items:
            plugin.BOXES["user"] = RemoteBox(
                os.environ["SANDBOX_URL"],
                os.environ.get("SANDBOX_TOKEN") or None,
                os.environ["SANDBOX_CONTAINER"],
                os.environ["SANDBOX_TIER"],
            )
