"""inspect_ai's sandbox provider of ours: a task through it, and inspect_ai's own checks of any provider."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.environments import ROOT, run_peer
from tests.sandbox.doors.conftest import serve_process

# inspect_ai's checks that do not pass where the server has a shell, and why.
NOT_MET = {
    "test_cwd_custom": "wants /usr/bin with `env` in it; a jail has no /usr/bin",
    "test_exec_as_user": "makes a second user; a jail has one",
    "test_exec_permission_error": "runs /etc/passwd, which is in no jail: not found, not forbidden",
}
# What these checks call.
COMMANDS = ("cat", "chmod", "ls", "mkdir", "printf", "rm", "rmdir", "sh", "sleep", "touch", "wc", "whoami")


def test_a_task_runs_in_the_sandbox_with_inspect_ais_own_tools(server: str) -> None:
    run_peer("inspect", "inspect_provider.py", server, str(ROOT / "pyproject.toml"))


@pytest.fixture
def server_with_a_shell(tmp_path: Path) -> Iterator[str]:
    """The address of a server whose Python environment holds this machine's shell and file commands."""
    environment = tmp_path / "environment"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([str(uv), "venv", "-q", "--python", sys.executable, str(environment)], check=True)
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for command in COMMANDS:
        found = shutil.which(command)
        if found is None:
            pytest.skip(f"this machine has no command {command}")
        shutil.copy(found, environment / "bin" / command)
    python = str(environment / "bin" / "python")
    # Nothing is preloaded: what stands behind the environment is not in its jails.
    with serve_process("--workers", "2", "--preload", "", python=python) as (_, url):
        yield url


def test_inspect_ais_own_checks_pass_but_for_those_listed(server_with_a_shell: str) -> None:
    found = json.loads(run_peer("inspect", "inspect_selfcheck.py", server_with_a_shell).splitlines()[-1])
    assert len(found) > 40
    failed = {name: error for name, error in found.items() if error}
    assert set(failed) == set(NOT_MET), failed


def test_the_page_lists_the_checks_that_do_not_pass() -> None:
    page = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    assert not [name for name in NOT_MET if f"`{name}`" not in page]
