"""A Docker engine, the image built once, and containers of it. Everything is skipped where no engine answers.

`tests/docker/engine.sh` gives a bare Debian machine an engine, gVisor and a base image.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import SandboxUnavailable

ROOT = Path(__file__).parents[2]
BASE = "debian:bookworm-slim"


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """The Docker engine's client."""
    container = pytest.importorskip("sandbox.container", reason="the docker SDK is not installed")
    try:
        client = container.connect()
    except SandboxUnavailable as error:
        pytest.skip(f"{error} (tests/docker/engine.sh starts one)")
    if not client.images.list(name=BASE):
        client.close()
        pytest.skip(f"no image {BASE} and no registry is asked for it here; tests/docker/engine.sh makes it")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: Any) -> Any:
    """The sandbox image, built from this tree; layers that have not changed are taken from the engine's cache."""
    wheels = ROOT / "docker" / "wheels"
    if not list(wheels.glob("*.whl")):
        # With this machine's pip, which knows its index and its certificates; the build then asks nobody.
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--only-binary", ":all:",
             "--python-version", "3.11", "-r", str(ROOT / "docker" / "sandbox.lock"), "-d", str(wheels)],
            check=True,
        )  # fmt: skip
    command = [
        "docker",
        "build",
        "-q",
        "--network",
        "host",
        "-f",
        "docker/sandbox.Dockerfile",
        "-t",
        "soroban-sandbox",
        ".",
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert built.returncode == 0, built.stderr[-2000:]
    return engine.images.get("soroban-sandbox")


@pytest.fixture(scope="session", autouse=True)
def _nothing_stays() -> Iterator[None]:
    """At the end no container of ours is left."""
    yield
    if "sandbox.container" in sys.modules:
        from sandbox import container

        try:
            left = container.replicas()
        except SandboxUnavailable:
            return
        container.remove([replica.name for replica in left])
        assert not left, f"left behind by a test: {left}"
