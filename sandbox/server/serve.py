"""The server's process: configuration, socket, signals. The routes are in `sandbox.server.app`.

It refuses to listen beyond loopback without a token. SIGTERM and Ctrl-C drain: no new connection is taken, running
work is finished, then everything is closed; the second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sandbox.errors import InputError
from sandbox.types import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How the server runs.

    `uds` is the path of a unix socket to listen on instead of a port: who may connect is then a matter of the file
    system, and no token is needed. `workers` None: one slot a core.
    `drain_seconds` is how long SIGTERM waits for running work.
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
    drain_seconds: int = 30

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
        ):
            if value is not None and value < least:
                problems.append(f"{flag} is {value}, expected at least {least}")
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
    listening = _listen_on_path(config.uds) if config.uds is not None else _listen(config.host, config.port)
    with listening:
        asyncio.run(_serve(config, listening))


async def _serve(config: ServerConfig, listening: socket.socket) -> None:
    # Here, not above: the command's other verbs need no web framework.
    import uvicorn

    from sandbox.client.embedded import Embedded
    from sandbox.engine import Engine
    from sandbox.server.app import build_app

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
    )
    door = Embedded(engine)
    app = build_app(door, token=config.token, max_body_bytes=config.max_body_bytes)
    server = Server(
        uvicorn.Config(
            app,
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            date_header=False,
            # Longer than any client of ours keeps an idle connection, so that the client closes it, not we under it.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=config.drain_seconds,
        )
    )

    def stop() -> None:
        app.state.draining = True
        server.force_exit = server.should_exit
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await door.start()
        status = door.status()
        address = _address(listening)
        print(
            f"sandbox: listening on {address} · isolation {status.isolation} · {status.workers} workers",
            file=sys.stderr,
            flush=True,
        )
        await server.serve(sockets=[listening])
    finally:
        await door.close()
        if config.uds is not None:
            Path(config.uds).unlink(missing_ok=True)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise InputError(f"--host {host} is not an address of this machine: {error.strerror}") from None
    # The protocol is named because asyncio disables Nagle's algorithm only on sockets that name it: without, each
    # answer waits 40 ms for the client's delayed acknowledgement (measured at 8 at a time: 164, not 620 requests/s).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
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
