"""`python -m sandbox doctor`: what this machine offers for isolation, what is missing, and what would provide it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Trial:
    """Something that was tried: whether it works here, and what was seen."""

    works: bool
    detail: str


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


async def _try_out() -> tuple[Trial, Trial]:
    """Start an engine, run a program and fork a session: the findings explain, this decides."""
    from sandbox.engine import Engine

    engine = Engine(workers=1, preload=())
    try:
        await engine.start()
        result = await engine.run(ExecRequest(code="6 * 7", limits=Limits(wall_seconds=5)))
        took = f"{result.wall_seconds * 1000:.0f} ms"
        ran = Trial(True, f"a program ran in {took}: {result.status}, value {result.value}")
        session = await engine.open_session()
        try:
            await engine.fork_session(session)
        except SandboxError as error:
            return ran, Trial(False, f"no session can be forked here. {error}")
        return ran, Trial(True, "a session was forked")
    finally:
        await engine.close()


def examine() -> dict[str, Any]:
    """What `--json` prints: user, python, executable, checks, and whether pod, jail and forks work here."""
    why = pod.why_unusable()
    try:
        ran, forked = asyncio.run(_try_out())
    except SandboxUnavailable as error:
        ran, forked = Trial(False, str(error)), Trial(False, "sessions are forked in the jail only")
    return {
        "user": os.geteuid(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "checks": [dataclasses.asdict(check()) for check in CHECKS],
        "pod": {"works": why is None, "detail": why or "", "not_promised": list(pod.notes()) if why is None else []},
        "jail": dataclasses.asdict(ran),
        "forks": dataclasses.asdict(forked),
    }


def main(*, as_json: bool = False) -> int:
    """Print the findings; 0 if programs can be run in the jail here, 1 if not. Forks of sessions are reported only."""
    found = examine()
    if as_json:
        print(json.dumps(found))
        return 0 if found["jail"]["works"] else 1
    print(f"user {found['user']}, Python {found['python']} at {found['executable']}")
    for check in found["checks"]:
        sign = "yes    " if check["found"] else "MISSING" if check["needed"] else "no     "
        print(f"{sign} {check['name']} ({check['detail']})")
        if not check["found"]:
            print(f"        {check['remedy']}")
    usable = "can be chosen (--isolation pod); it does not promise all:"
    print(f"pod     {usable if found['pod']['works'] else found['pod']['detail']}")
    for note in found["pod"]["not_promised"]:
        print(f"        - {note}")
    if not found["jail"]["works"]:
        print(f"jail    does not work: {found['jail']['detail']}")
        return 1
    print(f"jail    works: {found['jail']['detail']}")
    print(f"forks   {'work' if found['forks']['works'] else 'refused'}: {found['forks']['detail']}")
    return 0
