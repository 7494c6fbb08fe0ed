"""`python -m sandbox relay`: other projects' routes on this machine, answered by sandbox servers elsewhere.

It is for clients that can neither show a token, nor use several servers, nor wait for one that restarts: they speak to
a port on loopback that is always there, and it asks the servers as our own client does. A program whose server was
killed under it runs again on another, or on the same when it is back. It refuses to listen beyond loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Iterator, Sequence
from typing import Literal

import uvicorn
from starlette.applications import Starlette

from sandbox.client.asynchronous import open_door
from sandbox.server.compat.fusion import fusion_routes
from sandbox.server.compat.nemo_skills import nemo_skills_routes
from sandbox.server.connections import Bounds, Connections
from sandbox.server.guard import Guard
from sandbox.server.serve import _address, _listen, http_config
from sandbox.types import MIB, ExecResult

# A route asks again by itself for as long as its client waits; this bounds one of its tries.
_PATIENCE_SECONDS = 2.0
_DRAIN_SECONDS = 30


def relay(urls: Sequence[str], *, port: int, token: str | None) -> None:
    """Serve on loopback until SIGTERM or Ctrl-C, asking the servers at `urls` with `token`.

    Raises:
        InputError: an address is none, or the port is not free.
    """
    with _listen("127.0.0.1", port) as listening:
        asyncio.run(_serve(urls, token, listening))


async def _serve(urls: Sequence[str], token: str | None, listening: socket.socket) -> None:
    door = open_door(urls[0] if len(urls) == 1 else urls, token, _PATIENCE_SECONDS, {})
    connections = Connections(Bounds())
    app = Starlette(routes=[*fusion_routes(door, _uncounted), *nemo_skills_routes(door, _uncounted)])
    app.add_middleware(Guard, token=None, max_body_bytes=64 * MIB, connections=connections)

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    server = Server(http_config(app, connections, _DRAIN_SECONDS))

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await door.start()
    try:
        print(f"sandbox: listening on {_address(listening)} · relays to {', '.join(urls)}", file=sys.stderr, flush=True)
        await server.serve(sockets=[listening])
    finally:
        await door.close()


async def _uncounted(kind: Literal["run", "cell"], work: Awaitable[ExecResult]) -> ExecResult:
    """The servers count what they run."""
    return await work
