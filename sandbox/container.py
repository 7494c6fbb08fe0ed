"""The sandbox in Docker containers: start them hardened, wait until they answer, list them, remove them.

What a container gets is decided here and nowhere else: no capability, no new privilege, a read-only root, a small
tmpfs, limits on memory, processes and CPU, the profile `docker/seccomp.json`, a bridge that leads nowhere. It refuses
to give more (`--privileged`, host folders other than a socket's, the engine's own socket) and to go on where the
engine offers less. See docs/containers.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import socket
import tarfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import docker
import docker.errors
import docker.types

from sandbox.alive import is_alive
from sandbox.errors import InputError, SandboxUnavailable

IMAGE = "soroban-sandbox"
NETWORK = "soroban-sandbox"
LABEL, OWNER_LABEL = "soroban.sandbox", "soroban.owner"
PORT = 8000
TOKEN_FOLDER = "/run/soroban"
SOCKET_FOLDER = "/run/soroban-socket"
# Docker 20.10: the first whose seccomp answers unknown calls with ENOSYS, which glibc needs to fall back.
OLDEST_API = (1, 41)
NOBODY = 65534
READY_SECONDS = 120.0
PROFILE = Path(__file__).parent.parent / "docker" / "seccomp.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start. The defaults are those of `python -m sandbox up`.

    `memory_bytes`, `cpus` and `processes` hold for a whole container. `tmp_bytes` is the size of its only writable
    place. `port` is the first replica's, the next ones follow; 0: any that are free. With `socket_folder` the service
    has no network at all and listens on unix sockets in that folder, one a replica. `tier` "pod" is for what
    `--runtime runsc` and clusters without our profile allow. `workers` None: one a core. `owner` is the host and
    process ("host:pid") with whose end the containers may go.
    """

    image: str = IMAGE
    replicas: int = 1
    runtime: str | None = None
    memory_bytes: int = 8 << 30
    cpus: float | None = None
    processes: int = 1024
    tmp_bytes: int = 1 << 30
    port: int = PORT
    socket_folder: str | None = None
    tier: Literal["jail", "pod"] = "jail"
    workers: int | None = None
    profile: Path = PROFILE
    owner: str | None = None

    def check(self) -> None:
        """Raise `InputError` naming everything in it that cannot be."""
        problems = [
            f"{name} is {value}, expected at least {least}"
            for name, value, least in (
                ("replicas", self.replicas, 1),
                ("memory", self.memory_bytes, 256 << 20),
                ("cpus", 1 if self.cpus is None else self.cpus, 0.01),
                ("pids", self.processes, 64),
                ("port", self.port, 0),
            )
            if value < least
        ]
        if self.port + self.replicas > 1 << 16:
            problems.append(f"port is {self.port}, expected one that leaves room for {self.replicas} below 65536")
        if self.socket_folder is not None and not os.path.isdir(self.socket_folder):
            problems.append(f"{self.socket_folder} is not a folder; make it first, readable by yourself only")
        if problems:
            raise InputError("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Replica:
    """A running container: `url` is what `Sandbox(url, token=token)` takes."""

    name: str
    url: str
    token: str | None
    status: str = "running"


def connect() -> Any:
    """The engine's client.

    Raises:
        SandboxUnavailable: no engine answers, or it is too old.
    """
    where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        client = docker.from_env(timeout=120)
        version = client.version()
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxUnavailable(
            f"no Docker engine answers at {where} ({_first_line(error)}); start it (systemctl start docker), name "
            "another with DOCKER_HOST, or, if it runs, join the group that may use it (docker)"
        ) from None
    api = tuple(int(part) for part in version["ApiVersion"].split("."))
    if api < OLDEST_API:
        raise SandboxUnavailable(
            f"the Docker engine at {where} is version {version['Version']} (API {version['ApiVersion']}); "
            "20.10 (API 1.41) or newer is needed"
        )
    return client


def launch(plan: Launch, token: str | None = None) -> list[Replica]:
    """Start the replicas of `plan` and return when all of them answer. None is left behind if one does not.

    `token` is what they are to ask for; None makes one. With sockets there is none: the folder's rights decide.

    Raises:
        InputError: the plan cannot be: a missing image, runtime or profile, a port that is taken.
        SandboxUnavailable: no engine, or a container that did not come up; its last words are in the message.
    """
    plan.check()
    client = connect()
    _check_engine(client, plan)
    token = None if plan.socket_folder else token or secrets.token_urlsafe(32)
    containers: list[Any] = []
    try:
        for index in range(plan.replicas):
            containers.append(_create(client, plan, index, token))
            _asking_engine(containers[-1].start)
        deadline = time.monotonic() + READY_SECONDS
        return [_wait_until_ready(container, token, deadline) for container in containers]
    except BaseException:
        for container in containers:
            _remove(container)
        raise


def _check_engine(client: Any, plan: Launch) -> None:
    info = client.info()
    if plan.runtime is not None and plan.runtime not in info["Runtimes"]:
        raise InputError(
            f"the Docker engine has no runtime {plan.runtime!r}, it has {', '.join(sorted(info['Runtimes']))}; "
            "docs/containers.md says how to add gVisor's"
        )
    if not any("name=seccomp" in option for option in info["SecurityOptions"]):
        raise SandboxUnavailable("the Docker engine runs without seccomp; programs would face the whole kernel")
    try:
        client.images.get(plan.image)
    except docker.errors.ImageNotFound:
        raise InputError(
            f"the Docker engine has no image {plan.image!r}; build it in the project's folder: "
            f"docker build -f docker/sandbox.Dockerfile -t {plan.image} ."
        ) from None
    if plan.port and plan.socket_folder is None and "DOCKER_HOST" not in os.environ:
        for port in range(plan.port, plan.port + plan.replicas):
            _check_port(port)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"port {port} of 127.0.0.1 cannot be had ({error.strerror}); choose another, or 0 for any"
            ) from None


def hardening(plan: Launch) -> dict[str, Any]:
    """The engine's options that make the wall, the same for every container of `plan`."""
    options: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
        "user": f"{NOBODY}:{NOBODY}",
        "tmpfs": {"/tmp": f"size={plan.tmp_bytes},mode=1777,nosuid,nodev,noexec"},
        "shm_size": 1 << 20,  # a program's /dev/shm is in its jail; nothing uses the container's
        "mem_limit": plan.memory_bytes,
        "memswap_limit": plan.memory_bytes,  # the same: no swap
        "pids_limit": plan.processes,
        "ulimits": [docker.types.Ulimit(name="core", soft=0, hard=0)],
    }
    if plan.cpus is not None:
        options["nano_cpus"] = int(plan.cpus * 1e9)
    if plan.tier == "jail":
        options["security_opt"].append("seccomp=" + _profile(plan.profile))
    else:
        # A user a slot, changed to and killed as; nothing else of root's is left. The engine's default profile holds.
        options |= {"user": "0:0", "cap_add": ["SETUID", "SETGID", "KILL"]}
    return options


def _profile(path: Path) -> str:
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"the seccomp profile {path} does not exist; it comes with the project's source; name it with --seccomp"
        ) from None
    except ValueError as error:
        raise InputError(f"the seccomp profile {path} is not JSON: {error}") from None


def _create(client: Any, plan: Launch, index: int, token: str | None) -> Any:
    name = f"soroban-sandbox-{secrets.token_hex(4)}"
    options = hardening(plan) | {"labels": {LABEL: "1"}}
    if plan.owner is not None:
        options["labels"][OWNER_LABEL] = plan.owner
    command = ["--isolation", plan.tier]
    if plan.workers is not None:
        command += ["--workers", str(plan.workers)]
    if plan.socket_folder is not None:
        folder = Path(plan.socket_folder).resolve() / name
        folder.mkdir()
        folder.chmod(0o777)  # the container's user is not ours; the folder above keeps others out
        options |= {"network_mode": "none", "volumes": {str(folder): {"bind": SOCKET_FOLDER, "mode": "rw"}}}
        options["labels"]["soroban.socket"] = str(folder / "sock")
        options["healthcheck"] = {"test": ["CMD", "python", "-m", "sandbox.alive", "--uds", f"{SOCKET_FOLDER}/sock"]}
        command += ["--uds", f"{SOCKET_FOLDER}/sock"]
    else:
        options |= {
            "network": _network(client),
            "ports": {f"{PORT}/tcp": ("127.0.0.1", plan.port + index if plan.port else None)},
        }
        command += ["--host", "0.0.0.0", "--port", str(PORT), "--token-file", f"{TOKEN_FOLDER}/token"]
    if plan.runtime is not None:
        options["runtime"] = plan.runtime
    container = _asking_engine(client.containers.create, plan.image, command, name=name, **options)
    if token is not None:
        # Into the volume rather than by a mount: no path of the host is named, and no environment shows it.
        owner = NOBODY if plan.tier == "jail" else 0
        container.put_archive(TOKEN_FOLDER, _archive("token", token.encode(), owner))
    return container


def _archive(name: str, content: bytes, owner: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.uid, entry.gid = len(content), 0o400, owner, owner
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _network(client: Any) -> str:
    """A bridge from which nothing leads out and on which containers do not see each other."""
    try:
        client.networks.get(NETWORK)
    except docker.errors.NotFound:
        options = {
            "com.docker.network.bridge.enable_ip_masquerade": "false",
            "com.docker.network.bridge.enable_icc": "false",
        }
        _asking_engine(client.networks.create, NETWORK, driver="bridge", options=options, labels={LABEL: "1"})
    return NETWORK


def _asking_engine(call: Any, *arguments: Any, **options: Any) -> Any:
    """`call(...)`, a refusal of the engine's in one sentence."""
    try:
        return call(*arguments, **options)
    except docker.errors.APIError as error:
        raise SandboxUnavailable(f"the Docker engine refused: {_first_line(error.explanation or error)}") from None


def _wait_until_ready(container: Any, token: str | None, deadline: float) -> Replica:
    while True:
        container.reload()
        if container.status not in ("created", "running"):
            words = container.logs(tail=5).decode(errors="replace").strip() or "nothing was logged"
            raise SandboxUnavailable(
                f"the container ended before it was ready (exit code {_exit_code(container)}): {words}"
            )
        if container.status == "running" and (url := _url(container)) is not None and _answers(url):
            return Replica(container.name, url, token)
        if time.monotonic() > deadline:
            raise SandboxUnavailable(
                f"the container was not ready within {READY_SECONDS:.0f} s: {container.logs(tail=5)!r}"
            )
        time.sleep(0.1)


def _exit_code(container: Any) -> int:
    return int(container.attrs["State"]["ExitCode"])


def _url(container: Any) -> str | None:
    if path := container.labels.get("soroban.socket"):
        return f"unix://{path}"
    for bindings in container.ports.values():
        for binding in bindings or ():
            return f"http://{binding['HostIp']}:{binding['HostPort']}"
    return None


def _answers(url: str) -> bool:
    """Whether the service is ready: its engine is started, and it takes programs."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return is_alive(uds=parts.path, path="/readyz")
    return is_alive(port=parts.port or 80, path="/readyz")


def replicas() -> list[Replica]:
    """All sandbox containers of this engine, the stopped ones too; tokens are not known."""
    found = connect().containers.list(all=True, filters={"label": LABEL})
    return [Replica(each.name, _url(each) or "-", None, each.status) for each in found]


def remove(names: Iterable[str]) -> None:
    """Remove these containers with their volumes and sockets; those that are gone already are no error."""
    client = connect()
    for name in names:
        with contextlib.suppress(docker.errors.NotFound):
            _remove(client.containers.get(name))


def _remove(container: Any) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        container.remove(force=True, v=True)
    if path := container.labels.get("soroban.socket"):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(Path(path).parent)


def sweep(host: str) -> None:
    """Remove containers whose owner, a process of this machine, was killed before it could."""
    for container in connect().containers.list(all=True, filters={"label": OWNER_LABEL}):
        where, _, pid = container.labels[OWNER_LABEL].rpartition(":")
        if where == host and not Path("/proc", pid).exists():
            _remove(container)


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
