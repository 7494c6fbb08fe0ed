"""Does the service on this machine answer: exit code 0 or 1. The container's health check, made to cost little.

    python -m sandbox.containers.liveness [--uds PATH | --port PORT]

It imports neither the engine nor an HTTP library: an interpreter and one request are all it takes.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import sys


class _OverSocket(http.client.HTTPConnection):
    """HTTP over a unix socket: `path` in place of host and port."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def is_alive(*, uds: str | None = None, port: int = 8000, path: str = "/healthz", timeout_seconds: float = 2.0) -> bool:
    """True if `path` answers 200 within `timeout_seconds`."""
    connection = (
        _OverSocket(uds, timeout_seconds)
        if uds
        else http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.containers.liveness", description="Exit 0 if the service answers."
    )
    parser.add_argument("--uds", help="the unix socket it serves on")
    parser.add_argument("--port", type=int, default=8000, help="the port it serves on (default 8000)")
    arguments = parser.parse_args()
    sys.exit(not is_alive(uds=arguments.uds, port=arguments.port))
