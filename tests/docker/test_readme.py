"""The service as the README brings it up: its commands are run as they are written there."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.docker
ROOT = Path(__file__).parents[2]


def commands() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## The sandbox as a service", 1)[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def compose() -> Iterator[str]:
    """How compose is called here: the plugin, or Debian 12's program of the same language."""
    name = "docker compose"
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        if shutil.which("docker-compose") is None:
            pytest.skip("neither docker compose nor docker-compose is installed")
        name = "docker-compose"
    token = ROOT / "docker" / "token"
    before = token.read_text() if token.exists() else None
    yield name
    down = f"{name} -p soroban-readme down -v"
    subprocess.run(down, shell=True, cwd=ROOT / "docker", capture_output=True, check=False)
    if before is not None:
        token.write_text(before)
    else:
        token.unlink(missing_ok=True)


def test_the_commands_bring_up_a_service_that_answers(image: Any, engine: Any, compose: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = commands().replace("docker compose", compose).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=250,
        env=os.environ | {"SANDBOX_PORT": str(port), "COMPOSE_PROJECT_NAME": "soroban-readme"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    *_, ready, result = [line for line in done.stdout.replace("}{", "}\n{").splitlines() if line.startswith("{")]
    assert json.loads(ready)["isolation"] == "jail"
    assert json.loads(result)["value"] == "[2, 3]"
    (service,) = engine.containers.list(filters={"label": "com.docker.compose.project=soroban-readme"})
    host = service.attrs["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert any(option.startswith(("seccomp={", "seccomp:{")) for option in host["SecurityOpt"])
    networks = [engine.networks.get(name).attrs for name in service.attrs["NetworkSettings"]["Networks"]]
    assert sorted(network["Internal"] for network in networks) == [False, True]
