"""The server's process: configuration, socket, signals. The routes are in `sandbox.server.app`.

It refuses to listen beyond loopback without a token. SIGTERM and Ctrl-C drain: no new connection is taken, running
work is finished, then everything is closed; the second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import math
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sandbox.engine.descriptors import check_limit, needed, raise_limit
from sandbox.errors import InputError
from sandbox.types import MIB

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from sandbox.server.connections import Bounds, Connections
    from sandbox.server.processes import Place

_FEWEST_CLIENTS = 64  # connections that have shown the token


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How the server runs.

    `uds` is the path of a unix socket to listen on instead of a port: who may connect is then a matter of the file
    system, and no token is needed. `workers` None: one slot a core.
    `drain_seconds` is how long SIGTERM waits for running work. `processes` answer on the one port, each with a share of
    the slots, sessions and queue; `max_connections` is for each.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    workers: int | None = None
    max_queue: int = 1024
    max_sessions: int = 64
    session_ttl_seconds: float = 600.0
    preload: tuple[str, ...] = ("numpy", "sympy")
    isolation: Literal["auto", "jail", "pod", "none"] = "auto"
    token: str | None = None
    max_body_bytes: int = 64 * MIB
    max_connections: int = 4096
    drain_seconds: int = 30
    processes: int = 1

    @property
    def slots(self) -> int:
        """Programs at a time."""
        return self.workers or len(os.sched_getaffinity(0))

    def check(self) -> None:
        """Raise `InputError` if this must not or cannot be served; all problems are named at once."""
        problems = []
        if self.uds is None and not _is_loopback(self.host) and self.token is None:
            problems.append(
                f"--host {self.host} can be reached from other machines, and whoever reaches it runs programs: a token "
                "is required. Make one with `head -c 32 /dev/urandom | base64 > token` and add --token-file token"
            )
        if self.token is not None and not (self.token and self.token.isascii() and self.token.isprintable()):
            problems.append(
                "the token is empty or has characters that an HTTP header cannot carry; use printable ASCII"
            )
        for flag, value, least in (
            ("--workers", self.workers, 1),
            ("--max-queue", self.max_queue, 1),
            ("--max-sessions", self.max_sessions, 0),
            ("--max-body-bytes", self.max_body_bytes, 1024),
            ("--max-connections", self.max_connections, 1),
            ("--processes", self.processes, 1),
            ("--drain-seconds", self.drain_seconds, 0),
        ):
            if value is not None and value < least:
                problems.append(f"{flag} is {value}, expected at least {least}")
        if self.processes > self.slots:
            problems.append(f"--processes is {self.processes}, expected at most one for each of {self.slots} workers")
        if not 0 < self.session_ttl_seconds < math.inf:
            problems.append(f"--session-ttl-seconds is {self.session_ttl_seconds}, expected more than 0")
        if not 0 <= self.port < 1 << 16:
            problems.append(f"--port is {self.port}, expected 0 (any free one) to 65535")
        if problems:
            raise InputError("; ".join(problems))


def serve(config: ServerConfig) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        InputError: the configuration cannot be served, or its address is not free.
        SandboxUnavailable: this machine offers no isolation.
    """
    config.check()
    if config.processes > 1:
        _serve_in_processes(config)
        return
    listening = _listen_on_path(config.uds) if config.uds is not None else _listen(config.host, config.port)
    with listening:
        asyncio.run(_serve(config, [listening], lambda isolation: _announce(config, listening, isolation)))


def _announce(config: ServerConfig, listening: socket.socket, isolation: str) -> None:
    processes = f" in {config.processes} processes" if config.processes > 1 else ""
    print(
        f"sandbox: listening on {_address(listening)} · isolation {isolation} · {config.slots} workers{processes}",
        file=sys.stderr,
        flush=True,
    )


def _serve_in_processes(config: ServerConfig) -> None:
    """As `serve`, by several processes that are one server. See `sandbox.server.processes`."""
    import sandbox.server.app  # noqa: F401 - here, so that the processes share its memory
    from sandbox.server.parent import Parent
    from sandbox.server.processes import Place, Shared

    count = config.processes
    if config.uds is not None:
        listening = [_listen_on_path(config.uds)] * count
    else:
        _listen(config.host, config.port).close()  # who has it already would share it with us, if it is another server
        listening = [_listen(config.host, config.port, share=True)]
        port = listening[0].getsockname()[1]
        listening += [_listen(config.host, port, share=True) for _ in range(count - 1)]
    folder = tempfile.mkdtemp(prefix="sandbox-")  # which only this user may enter
    paths = tuple(os.path.join(folder, str(index)) for index in range(count))
    private = [_listen_on_path(path) for path in paths]
    workers = tuple(config.slots // count + (index < config.slots % count) for index in range(count))
    shared, secret = Shared(count), secrets.token_hex(16)

    def child(index: int, ready: Callable[[str], None]) -> None:
        for other in range(count):
            if other != index:
                private[other].close()
                if listening[other] is not listening[index]:
                    listening[other].close()
        place = Place(index, workers, shared, paths, secret, config.token)
        share = replace(
            config,
            workers=workers[index],
            max_queue=-(-config.max_queue // count),
            max_sessions=-(-config.max_sessions // count),
        )
        asyncio.run(_serve(share, [listening[index], private[index]], ready, place))

    try:
        Parent(count, child).run(lambda words: _announce(config, listening[0], words[0]))
    finally:
        for each in (*listening, *private):
            each.close()
        shutil.rmtree(folder, ignore_errors=True)
        if config.uds is not None:
            Path(config.uds).unlink(missing_ok=True)


async def _serve(
    config: ServerConfig, listening: list[socket.socket], ready: Callable[[str], None], place: Place | None = None
) -> None:
    """Serve on `listening`; call `ready` with the isolation when programs can be run. `place`: one of several."""
    # Here, not above: the command's other verbs need no web framework.
    import uvicorn

    from sandbox.client.embedded import Embedded
    from sandbox.engine import Engine
    from sandbox.server.app import build_app
    from sandbox.server.connections import Connections
    from sandbox.server.processes import Spread

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again after the last answer, which would end us before the engine.
            yield

    engine = Engine(
        workers=config.workers,
        preload=config.preload,
        isolation=config.isolation,
        max_queue=config.max_queue,
        max_sessions=config.max_sessions,
        session_ttl_seconds=config.session_ttl_seconds,
        first_slot=sum(place.workers[: place.index]) if place else 0,
        all_slots=sum(place.workers) if place else None,
        session_prefix=place.prefix if place else "",
    )
    door = Spread(engine, place) if place else Embedded(engine)
    connections = Connections(_bounds(config))
    app = build_app(door, token=config.token, max_body_bytes=config.max_body_bytes, connections=connections)
    server = Server(http_config(app, connections, config.drain_seconds))

    def stop() -> None:
        app.state.draining = True
        server.force_exit = server.should_exit
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await door.start()
        ready(door.status().isolation)
        await server.serve(sockets=listening)
    finally:
        await door.close()
        if config.uds is not None and place is None:
            Path(config.uds).unlink(missing_ok=True)


def _bounds(config: ServerConfig) -> Bounds:
    """What connections may take, so that open files are left for programs.

    Raises:
        InputError: there are too few open files.
    """
    from sandbox.server.connections import Bounds

    workers = config.slots
    limit, for_programs = raise_limit(), needed(workers)
    least = for_programs + Bounds().strangers + _FEWEST_CLIENTS
    check_limit(limit, least, f"{workers} workers and {Bounds().strangers + _FEWEST_CLIENTS} connections")
    return Bounds(connections=min(config.max_connections, limit - for_programs))


def http_config(app: ASGIApp, connections: Connections, drain_seconds: int) -> uvicorn.Config:
    """How uvicorn serves `app`: HTTP/1.1 and nothing else, on `connections`."""
    import uvicorn

    from sandbox.server.connections import Connection

    return uvicorn.Config(
        app,
        http=functools.partial(Connection, connections=connections),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        date_header=False,
        timeout_graceful_shutdown=drain_seconds,
    )


def _listen(host: str, port: int, *, share: bool = False) -> socket.socket:
    """A socket that listens there; `share` the port with others of this server, and with nobody who has it already."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise InputError(f"--host {host} is not an address of this machine: {error.strerror}") from None
    # The protocol is named because asyncio disables Nagle's algorithm only on sockets that name it: without, each
    # answer waits 40 ms for the client's delayed acknowledgement (measured at 8 at a time: 164, not 620 requests/s).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if share:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise InputError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    return listening


def _listen_on_path(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_dead_socket(path):
            os.unlink(path)  # left by a server that was killed
        listening.bind(path)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise InputError(f"cannot listen on {path}: {error.strerror or error}") from None
    return listening


def _is_dead_socket(path: str) -> bool:
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _address(listening: socket.socket) -> str:
    name = listening.getsockname()
    if isinstance(name, str):
        return f"unix://{os.path.abspath(name)}"
    host, port = name[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
