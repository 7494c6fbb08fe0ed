"""A Docker engine, the image built once, and containers of it. Everything is skipped where no engine answers.

`tests/docker/engine.sh` gives a bare Debian machine an engine, gVisor and a base image.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import SandboxUnavailable

ROOT = Path(__file__).parents[2]
BASE = "debian:bookworm-slim"
# The suite runs in several processes. One builds the image, the others find it built; the last one out looks around.
BUILDING, TESTING = (Path(tempfile.gettempdir(), f"soroban-docker-tests.{name}") for name in ("building", "testing"))
BUILD_SECONDS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs the image waits for it, which on a busy machine takes minutes."""
    for item in items:
        if "image" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(2 * BUILD_SECONDS))


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """The Docker engine's client."""
    container = pytest.importorskip("sandbox.containers.container", reason="the docker SDK is not installed")
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
    command = "docker build -q --network host -f docker/sandbox.Dockerfile -t soroban-sandbox ."
    with BUILDING.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "docker" / "sandbox.lock").read_text(), re.MULTILINE)
        if set(locked) - {path.name.split("-")[0].lower().replace("_", "-") for path in wheels.glob("*.whl")}:
            # With this machine's pip, which knows its index and its certificates; the build then asks nobody.
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--only-binary", ":all:",
                 "--python-version", "3.11", "-r", str(ROOT / "docker" / "sandbox.lock"), "-d", str(wheels)],
                check=True,
            )  # fmt: skip
        built = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert built.returncode == 0, built.stderr[-2000:]
    return engine.images.get("soroban-sandbox")


@pytest.fixture(scope="session", autouse=True)
def _nothing_stays() -> Iterator[None]:
    """At the end no container of ours is left."""
    with TESTING.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # others are at work with theirs
        if "sandbox.containers.container" not in sys.modules:
            return
        from sandbox.containers import container

        try:
            left = container.replicas()
        except SandboxUnavailable:
            return
        container.remove([replica.name for replica in left])
        assert not left, f"left behind by a test: {left}"
