"""The whole hostile suite of the engine, over HTTP, against the containers as they are shipped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sandbox.containers.hardening import Launch

pytestmark = pytest.mark.docker
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SUITE = "tests/sandbox/engine"


def run_suite(plan: Launch, tier: str) -> str:
    """The suite's last line; its failures are shown as this test's."""
    from sandbox.containers import container

    (replica,) = container.launch(plan)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "hostile_box", "-p", "no:cacheprovider", SUITE],
            cwd=ROOT, capture_output=True, text=True, timeout=840,
            env=os.environ | {
                "PYTHONPATH": str(HERE), "SANDBOX_URL": replica.url, "SANDBOX_TOKEN": replica.token or "",
                "SANDBOX_CONTAINER": replica.name, "SANDBOX_TIER": tier,
            },
        )  # fmt: skip
    finally:
        container.remove([replica.name])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def passed(line: str) -> int:
    found = re.search(r"(\d+) passed", line)
    assert found is not None, line
    return int(found[1])


def test_it_holds_in_the_container_with_namespaces(image: Any) -> None:
    assert passed(run_suite(Launch(port=0, workers=2), "jail")) > 150


def test_it_holds_in_a_plain_pod(image: Any) -> None:
    assert passed(run_suite(Launch(port=0, workers=2, tier="pod"), "pod")) > 140


def test_it_holds_under_gvisor(image: Any, engine: Any) -> None:
    if "runsc" not in engine.info()["Runtimes"]:
        pytest.skip("this engine has no runtime runsc; tests/docker/engine.sh adds it")
    with tempfile.TemporaryDirectory(prefix="soroban-") as folder:
        plan = Launch(socket_folder=folder, workers=2, tier="pod", runtime="runsc")
        assert passed(run_suite(plan, "gvisor")) > 140
