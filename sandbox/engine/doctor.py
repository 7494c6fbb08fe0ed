"""`python -m sandbox doctor`: what this machine offers for isolation, what is missing, and what would provide it."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError, SandboxUnavailable
from sandbox.jail import cgroups, pod, seccomp
from sandbox.types import ExecRequest, Limits


@dataclass(frozen=True)
class Finding:
    """One thing the jail uses: whether it is here, and if not, what would provide it. Not all are needed."""

    name: str
    found: bool
    detail: str
    remedy: str
    needed: bool


def _user_namespaces() -> Finding:
    most = _read("/proc/sys/user/max_user_namespaces")
    allowed = _read("/proc/sys/kernel/unprivileged_userns_clone")
    restricted = _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    found = most != "0" and allowed != "0" and restricted != "1"
    remedy = (
        "sysctl -w user.max_user_namespaces=10000"
        if most == "0"
        else "sysctl -w kernel.unprivileged_userns_clone=1"
        if allowed == "0"
        else "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    )
    # Root makes the other namespaces without one, but a session is forked inside its own.
    return Finding("user namespaces", found, f"at most {most}", remedy, os.geteuid() != 0)


def _control_groups() -> Finding:
    why = cgroups.why_unusable()
    remedy = "run as root, or: systemd-run --user --scope -p Delegate=yes …; without, memory is watched by polling"
    return Finding("control groups", why is None, why or "memory and pids", remedy, False)


def _seccomp() -> Finding:
    remedy = "use a machine of x86_64 or aarch64: the filter's table has no other"
    return Finding("seccomp filter", seccomp.available(), platform.machine(), remedy, True)


def _kernel() -> Finding:
    version = platform.release()
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:2])
    return Finding("kernel 5.12 or newer", numbers >= (5, 12), version, "mount_setattr came with 5.12: upgrade", True)


def _devices() -> Finding:
    missing = [name for name in ("null", "zero", "random", "urandom", "full") if not Path("/dev", name).exists()]
    return Finding(
        "devices", not missing, f"missing: {missing}" if missing else "/dev", "mount a devtmpfs on /dev", True
    )


# What is looked at, in this order.
CHECKS: tuple[Callable[[], Finding], ...] = (_kernel, _user_namespaces, _seccomp, _devices, _control_groups)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"


async def _try_out() -> list[str]:
    """Start an engine, run a program and fork a session: the findings explain, this decides."""
    from sandbox.engine import Engine

    engine = Engine(workers=1, preload=())
    try:
        await engine.start()
        result = await engine.run(ExecRequest(code="6 * 7", limits=Limits(wall_seconds=5)))
        took = f"{result.wall_seconds * 1000:.0f} ms"
        ran = f"jail    works: a program ran in {took}: {result.status}, value {result.value}"
        session = await engine.open_session()
        try:
            await engine.fork_session(session)
        except SandboxError as error:
            return [ran, f"forks   refused: no session can be forked here. {error}"]
        return [ran, "forks   work: a session was forked"]
    finally:
        await engine.close()


def main(_: list[str]) -> int:
    """Print the findings; 0 if programs can be run in the jail here, 1 if not. Forks of sessions are reported only."""
    print(f"user {os.geteuid()}, Python {platform.python_version()} at {sys.executable}")
    for check in CHECKS:
        finding = check()
        sign = "yes    " if finding.found else "MISSING" if finding.needed else "no     "
        print(f"{sign} {finding.name} ({finding.detail})")
        if not finding.found:
            print(f"        {finding.remedy}")
    missing = pod.why_unusable()
    print(f"pod     {'can be chosen (--isolation pod); it does not promise all:' if missing is None else missing}")
    for note in pod.notes() if missing is None else ():
        print(f"        - {note}")
    try:
        print("\n".join(asyncio.run(_try_out())))
    except SandboxUnavailable as error:
        print(f"jail    does not work: {error}")
        return 1
    return 0
