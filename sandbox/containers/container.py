"""The sandbox in Docker containers: start them, wait until they answer, list them, remove them; `Sandbox("docker://")`.

They run as `hardening` beside this file says, on a bridge that leads nowhere or with no network at all. It refuses to
go on where the engine offers less, and to leave anything behind when one does not come up.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import secrets
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import docker
import docker.errors
from docker.types import Ulimit

from sandbox.client.remote import Remote
from sandbox.containers.hardening import IMAGE, NOBODY, PORT, Launch, hardening
from sandbox.containers.liveness import is_alive
from sandbox.errors import InputError, SandboxUnavailable
from sandbox.types import ExecRequest, ExecResult, Limits

NETWORK = "soroban-sandbox"
LABEL, OWNER_LABEL = "soroban.sandbox", "soroban.owner"
TOKEN_FOLDER = "/run/soroban"
SOCKET_FOLDER = "/run/soroban-socket"
# Docker 20.10: the first whose seccomp answers unknown calls with ENOSYS, which glibc needs to fall back.
OLDEST_API = (1, 41)
READY_SECONDS = 120.0
_HEALTH_CHECK = ("CMD", "python", "-m", "sandbox.containers.liveness")


@dataclass(frozen=True, slots=True)
class Replica:
    """A running container: `url` is what `Sandbox(url, token=token)` takes."""

    name: str
    url: str
    token: str | None
    status: str = "running"


def connect() -> Any:
    """The engine's client, to be closed.

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
        client.close()
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
    token = None if plan.socket_folder else token or secrets.token_urlsafe(32)
    with contextlib.closing(connect()) as client:
        _check_engine(client, plan)
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
            f"the Docker engine has no image {plan.image!r}; build it: python -m sandbox image --image {plan.image}"
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


def _create(client: Any, plan: Launch, index: int, token: str | None) -> Any:
    name = f"soroban-sandbox-{secrets.token_hex(4)}"
    options = hardening(plan) | {"labels": {LABEL: "1"}, "ulimits": [Ulimit(name="core", soft=0, hard=0)]}
    if plan.owner is not None:
        options["labels"][OWNER_LABEL] = plan.owner
    command = ["--isolation", plan.tier]
    if plan.workers is not None:
        command += ["--workers", str(plan.workers)]
    if plan.socket_folder is not None:
        folder = Path(plan.socket_folder).resolve() / name
        folder.mkdir(0o700)
        if plan.tier == "jail":
            folder.chmod(0o777)  # the container's user is not ours; the folder above keeps others out
        options |= {"network_mode": "none", "volumes": {str(folder): {"bind": SOCKET_FOLDER, "mode": "rw"}}}
        options["labels"]["soroban.socket"] = str(folder / "sock")
        options["healthcheck"] = {"test": [*_HEALTH_CHECK, "--uds", f"{SOCKET_FOLDER}/sock"]}
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
    with contextlib.closing(connect()) as client:
        found = client.containers.list(all=True, filters={"label": LABEL})
        return [Replica(each.name, _url(each) or "-", None, each.status) for each in found]


def remove(names: Iterable[str]) -> None:
    """Remove these containers with their volumes and sockets; those that are gone already are no error."""
    with contextlib.closing(connect()) as client:
        for name in names:
            with contextlib.suppress(docker.errors.NotFound):
                _remove(client.containers.get(name))


def _remove(container: Any) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        container.reload()
        if container.status == "paused":  # a frozen process takes no signal, not even the last
            container.unpause()
        container.remove(force=True, v=True)
    if path := container.labels.get("soroban.socket"):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(Path(path).parent)


def sweep() -> None:
    """Remove containers whose owner, a process of this machine, was killed before it could do so."""
    with contextlib.closing(connect()) as client:
        for container in client.containers.list(all=True, filters={"label": OWNER_LABEL}):
            where, _, pid = container.labels[OWNER_LABEL].rpartition(":")
            if where == socket.gethostname() and not Path("/proc", pid).exists():
                _remove(container)


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


class Container:
    """The engine's verbs, answered by a container that lives as long as this object. See `Door`.

    The address is "docker://", or "docker://IMAGE?runtime=runsc&tier=pod&workers=4" where the defaults will not do.

    Raises:
        InputError: the address asks for something else.
    """

    def __init__(self, url: str, *, patience_seconds: float = 60.0) -> None:
        self._plan = _plan_of(url)
        self._patience_seconds = patience_seconds
        self._remote: Remote | None = None
        self._name: str | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def start(self) -> None:
        plan = replace(self._plan, port=0, owner=f"{socket.gethostname()}:{os.getpid()}")
        if plan.runtime is not None:  # gVisor's container has no network here or there; a socket does everywhere
            self._folder = tempfile.TemporaryDirectory(prefix="soroban-")
            plan = replace(plan, socket_folder=self._folder.name)
        await asyncio.to_thread(sweep)
        (replica,) = await asyncio.to_thread(launch, plan)
        self._name = replica.name
        self._remote = Remote(replica.url, token=replica.token, patience_seconds=self._patience_seconds)
        await self._remote.start()

    async def close(self) -> None:
        if self._remote is not None:
            await self._remote.close()
        if self._name is not None:
            await asyncio.to_thread(remove, [self._name])
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def _door(self) -> Remote:
        assert self._remote is not None, "start() comes first"
        return self._remote

    async def run(self, request: ExecRequest) -> ExecResult:
        return await self._door.run(request)

    async def run_in_bulk(self, request: ExecRequest) -> ExecResult:
        return await self._door.run_in_bulk(request)

    async def open_session(self, *, ttl_seconds: float | None, limits: Limits) -> str:
        return await self._door.open_session(ttl_seconds=ttl_seconds, limits=limits)

    async def run_in_session(self, session_id: str, request: ExecRequest) -> ExecResult:
        return await self._door.run_in_session(session_id, request)

    async def fork_session(self, session_id: str) -> str:
        return await self._door.fork_session(session_id)

    async def close_session(self, session_id: str) -> None:
        await self._door.close_session(session_id)


def _plan_of(url: str) -> Launch:
    parts = urlsplit(url)
    wanted = dict(parse_qsl(parts.query))
    unknown = set(wanted) - {"runtime", "tier", "workers"}
    if unknown or wanted.get("tier", "jail") not in ("jail", "pod") or not wanted.get("workers", "1").isdigit():
        raise InputError(
            f"{url!r}: expected docker://IMAGE?runtime=NAME&tier=jail|pod&workers=NUMBER, each part optional"
        )
    return Launch(
        image=(parts.netloc + parts.path) or IMAGE,
        runtime=wanted.get("runtime"),
        tier="pod" if wanted.get("tier") == "pod" else "jail",
        workers=int(wanted["workers"]) if "workers" in wanted else None,
    )
