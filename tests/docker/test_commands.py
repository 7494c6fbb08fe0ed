"""`python -m sandbox up, ps, down` and `Sandbox("docker://")`: they do what they say, or say in one line why not."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.containers.hardening import Launch
from sandbox.errors import InputError

container = pytest.importorskip("sandbox.containers.container", reason="the docker SDK is not installed")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments],
        capture_output=True, text=True, timeout=120, env=os.environ | environment,
    )  # fmt: skip


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a slip of the user's is answered with."""
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: "), done.stderr
    return lines[0]


@pytest.mark.docker
def test_up_ps_and_down_start_list_and_remove(image: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    up = command("up", "--replicas", "2", "--port", "0", "--workers", "1", "--token-file", str(token))
    assert up.returncode == 0, up.stderr
    urls = up.stdout.split()
    assert len(urls) == 2
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    try:
        for url in urls:
            with Sandbox(url, token=token.read_text().strip()) as sandbox:
                assert sandbox.run("6 * 7").value == "42"
        listed = [line.split("\t") for line in command("ps").stdout.splitlines()]
        assert {url for _, status, url in listed if status == "running"} >= set(urls)
    finally:
        names = [line.split("\t")[0] for line in command("ps").stdout.splitlines() if line.split("\t")[2] in urls]
        down = command("down", *names)
    assert down.returncode == 0
    assert not set(urls) & {replica.url for replica in container.replicas()}


@pytest.mark.docker
def test_a_sandbox_by_address_ends_with_its_block(image: Any, engine: Any) -> None:
    with Sandbox("docker://?workers=1") as sandbox:
        assert sandbox.run("1 + 1").isolation == "jail"
        assert len(engine.containers.list(filters={"label": container.OWNER_LABEL})) == 1
    assert engine.containers.list(all=True, filters={"label": container.OWNER_LABEL}) == []


@pytest.mark.docker
def test_what_a_killed_owner_left_is_swept_by_the_next(image: Any, engine: Any) -> None:
    code = "import os; from sandbox import Sandbox; s = Sandbox('docker://?workers=1'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    left = engine.containers.list(filters={"label": container.OWNER_LABEL})
    assert len(left) == 1
    container.sweep()
    assert engine.containers.list(all=True, filters={"label": container.OWNER_LABEL}) == []


def test_no_engine_is_said() -> None:
    said = complaint(command("ps", DOCKER_HOST="unix:///nowhere/docker.sock"))
    assert "no Docker engine answers at unix:///nowhere/docker.sock" in said
    assert "systemctl start docker" in said


@pytest.fixture
def old_engine() -> Iterator[str]:
    """Something that answers as Docker 19.03 did."""

    class Old(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"Version": "19.03.15", "ApiVersion": "1.40", "MinAPIVersion": "1.12"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Api-Version", "1.40")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Old)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"tcp://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_engine_too_old_is_said(old_engine: str) -> None:
    said = complaint(command("up", DOCKER_HOST=old_engine))
    assert "19.03.15" in said
    assert "20.10" in said


@pytest.mark.docker
def test_a_missing_image_is_said(engine: Any) -> None:
    said = complaint(command("up", "--image", "no-such-image", "--port", "0"))
    assert "no image 'no-such-image'" in said
    assert "python -m sandbox image --image no-such-image" in said


@pytest.mark.docker
def test_a_missing_runtime_is_said(image: Any) -> None:
    said = complaint(command("up", "--runtime", "kata", "--port", "0"))
    assert "no runtime 'kata'" in said
    assert "runc" in said


@pytest.mark.docker
def test_a_taken_port_is_said(image: Any, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = complaint(command("up", "--port", str(port), "--token-file", str(tmp_path / "token")))
    assert f"port {port} of 127.0.0.1 cannot be had" in said


@pytest.mark.docker
@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("{", "is not JSON"),
        ('{"defaultAction": "SCMP_ACT_NONSENSE", "syscalls": []}', "the Docker engine refused"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}', "the Docker engine refused"),
    ],
    ids=["not JSON", "an action that does not exist", "nothing allowed"],
)
def test_a_refused_profile_is_said(image: Any, tmp_path: Path, profile: str, words: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(profile)
    said = complaint(command("up", "--seccomp", str(path), "--port", "0", "--token-file", str(tmp_path / "token")))
    assert words in said


@pytest.mark.docker
def test_a_profile_that_allows_no_namespaces_is_said_by_the_service(image: Any, engine: Any, tmp_path: Path) -> None:
    rules = json.loads(container_profile().read_text())
    rules["syscalls"] = [rule for rule in rules["syscalls"] if not rule["comment"].startswith("added: ")]
    path = tmp_path / "docker-default.json"
    path.write_text(json.dumps(rules))
    said = complaint(command("up", "--seccomp", str(path), "--port", "0", "--token-file", str(tmp_path / "token")))
    assert "ended before it was ready" in said
    ended_so = {"label": container.LABEL, "exited": "2"}
    assert engine.containers.list(all=True, filters=ended_so) == [], "the container that failed is left"


def container_profile() -> Path:
    return Launch().profile


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Launch(replicas=0), "replicas is 0"),
        (Launch(memory_bytes=1), "memory is 1"),
        (Launch(port=65535, replicas=2), "port is 65535"),
        (Launch(socket_folder="/no/such/folder"), "is not a folder"),
        (Launch(socket_folder="/tmp"), "others can enter /tmp"),
    ],
)
def test_a_plan_that_cannot_be_is_told_before_the_engine_is_asked(plan: Launch, words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan.check()


def test_an_address_with_unknown_wishes_is_told() -> None:
    with pytest.raises(InputError, match="expected docker://"):
        container.Container("docker://image?privileged=true")


def test_a_sandbox_without_an_engine_is_unavailable() -> None:
    # In a process of its own: the SDK leaves the socket open that it could not connect.
    code = "from sandbox import *\ntry: Sandbox('docker://')\nexcept SandboxUnavailable as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"DOCKER_HOST": "unix:///nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("no Docker engine answers at unix:///nowhere"), done.stderr


def test_the_image_from_the_package_has_all_that_its_recipe_copies(tmp_path: Path) -> None:
    from sandbox.containers.image import _context

    wheel, certificate = tmp_path / "a-1-py3-none-any.whl", tmp_path / "company.crt"
    for path in (wheel, certificate):
        path.write_text("x")
    with tarfile.open(fileobj=_context([wheel], [certificate])) as tar:
        names = set(tar.getnames())
        files = {each.name for each in tar.getmembers() if each.isfile()}
        member = tar.extractfile("docker/sandbox.Dockerfile")
        assert member is not None
        copied = re.findall(r"^COPY (?!--from)(\S+) ", member.read().decode(), re.MULTILINE)
    assert len(copied) == 4
    assert [name for name in copied if name.rstrip("/") not in names] == []
    assert {"docker/sandbox.lock", "docker/wheels/a-1-py3-none-any.whl", "docker/certs/company.crt"} <= files
    assert {"sandbox/__main__.py", "sandbox/containers/init.py", "sandbox/containers/seccomp.json"} <= files
    assert not any("__pycache__" in name for name in names)


def test_a_wheel_that_is_not_there_is_said() -> None:
    said = complaint(command("image", "--wheels", "none.whl"))
    assert "none.whl: no such file" in said
