"""The way onto a Ray cluster: one line where it cannot be joined, and what its nodes must have in common with us.

A driver runs on a machine of the cluster, as Ray wants it; the cluster's nodes have this package installed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dataset.files import versions
from sandbox.errors import InputError

_CONNECT_SECONDS = 10.0
# HTTP/2, which Ray speaks: a client's greeting with empty settings, and the type of frame that a server begins with
# (RFC 9113, 3.4).
_GREETING, _SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), b"\x04"
# What a result depends on. Ray itself refuses another Ray, or another Python, where a machine joins the cluster.
_DECIDING = ("ray", "numpy", "sympy", "mpmath")


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Be a driver of the Ray cluster at `address`, HOST:PORT or "auto" for the one that this machine belongs to.

    Raises:
        InputError: no cluster is there, or it has another Ray or Python, or it wants a token.
        ModuleNotFoundError: Ray is not installed.
    """
    import ray

    where = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    _check_address(where)
    ours = signal.getsignal(signal.SIGTERM)
    try:
        with _descriptor_2_aside():
            ray.init(address=where, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        if "Failed to connect" in str(error):  # it has greeted us, and does not answer what Ray asks
            raise InputError(
                f"--ray {where}: the cluster does not let us in: RAY_AUTH_TOKEN (or ~/.ray/auth_token) must be its "
                "token, and RAY_AUTH_MODE its mode"
            ) from None
        raise InputError(
            f"--ray {where}: no Ray cluster here ({_one_line(error)}); start one by `ray start --head`, join one by "
            "`ray start --address HOST:PORT`"
        ) from None
    except (RuntimeError, ValueError, ray.exceptions.RayError) as error:  # another version; no token, or a wrong one
        raise InputError(f"--ray {where}: the cluster cannot be joined: {_one_line(error)}") from None
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)  # Ray took it, and would end us without a word
        yield
    finally:
        ray.shutdown()


@contextmanager
def _descriptor_2_aside() -> Iterator[None]:
    """Ray's library writes a line a second there while a token is wrong, before any of its settings holds."""
    sys.stderr.flush()
    ours, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(nothing)


def _check_address(address: str) -> None:
    """Raise `InputError` if no server of its kind is there: Ray itself would wait for minutes, then name a log file."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(
            f"--ray {address}: expected HOST:PORT of a cluster's head node, such as 10.0.0.1:6379, or auto"
        )
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS) as connection:
            connection.sendall(_GREETING)
            answer = connection.recv(9, socket.MSG_WAITALL)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--ray {address}: no Ray cluster there ({error}); `ray start --head` prints the address of one"
        ) from None
    if answer[3:4] != _SETTINGS and os.environ.get("RAY_USE_TLS", "0") != "1":
        raise InputError(
            f"--ray {address}: something else than Ray answers there; `ray start --head` prints the address"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


@dataclass(frozen=True, slots=True)
class Node:
    """Where an actor is, and what is installed there."""

    name: str
    versions: dict[str, str]


def this_node() -> Node:
    """The node that asks, from inside an actor."""
    import ray

    context = ray.get_runtime_context()
    name = f"{socket.gethostname()} ({ray.util.get_node_ip_address()}, Ray node {context.get_node_id()[:8]})"
    return Node(name, versions(*_DECIDING))


def check_node(node: Node) -> None:
    """Raise `InputError` if `node` has another Python or other libraries than we: its results might be others, too."""
    ours = versions(*_DECIDING)
    if node.versions != ours:
        names = [name for name in sorted(ours | node.versions) if ours.get(name) != node.versions.get(name)]
        differing = ", ".join(
            f"{name} {node.versions.get(name, 'none')}, here {ours.get(name, 'none')}" for name in names
        )
        raise InputError(f"--ray: node {node.name} has {differing}: install the same there")
