"""`python -m sandbox up | down | ps`: sandbox containers from the command line.

`up` prints the addresses, one a line, and where the token is; `down` removes what `up` made; `ps` lists it.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from pathlib import Path

from sandbox.containers import container
from sandbox.containers.hardening import IMAGE, PORT, PROFILE, Launch
from sandbox.errors import InputError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def main(argv: list[str]) -> int:
    """Run the command in `argv`; return its exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "up":
        return _up(arguments)
    if arguments.command == "down":
        names = arguments.names or [replica.name for replica in container.replicas()]
        container.remove(names)
        print(f"removed: {', '.join(names) or 'nothing, no sandbox container was there'}", file=sys.stderr)
        return 0
    for replica in container.replicas():
        print(f"{replica.name}\t{replica.status}\t{replica.url}")
    return 0


def _up(arguments: argparse.Namespace) -> int:
    plan = Launch(
        image=arguments.image,
        replicas=arguments.replicas,
        runtime=arguments.runtime,
        memory_bytes=arguments.memory,
        cpus=arguments.cpus,
        processes=arguments.pids,
        tmp_bytes=arguments.tmp,
        port=arguments.port,
        socket_folder=arguments.socket_folder,
        tier=arguments.tier,
        workers=arguments.workers,
        profile=arguments.seccomp,
    )
    token = None if plan.socket_folder else _token(arguments.token_file)
    for replica in container.launch(plan, token):
        print(replica.url)
    if token is not None:
        print(f"token: {arguments.token_file}", file=sys.stderr)
    return 0


def _token(path: Path) -> str:
    """The token in `path`; a new one is written there if there is none, for its owner's eyes only."""
    if path.exists():
        token = path.read_text(encoding="utf-8").strip()
        if not token:
            raise InputError(f"{path} is empty; expected a token on its first line, or no such file")
        return token
    token = secrets.token_urlsafe(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token + "\n")
    return token


def size(text: str) -> int:
    """Bytes from "512m", "8g" or a plain number."""
    found = re.fullmatch(r"(\d+)([kmg]?)i?b?", text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; expected one like 512m or 8g")
    return int(found[1]) * _UNITS[found[2]]


def _parser() -> argparse.ArgumentParser:
    default = Launch()
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Sandbox containers.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start containers, return when they answer")
    up.add_argument("--image", default=IMAGE)
    up.add_argument("--replicas", type=int, default=default.replicas)
    up.add_argument("--runtime", help="the engine's runtime; runsc: gVisor, see docs/containers.md")
    up.add_argument("--memory", type=size, default=default.memory_bytes, metavar="SIZE", help="a container's (8g)")
    up.add_argument("--cpus", type=float, help="a container's (default: all)")
    up.add_argument("--pids", type=int, default=default.processes, help="processes in a container (1024)")
    up.add_argument("--tmp", type=size, default=default.tmp_bytes, metavar="SIZE", help="its only writable place (1g)")
    up.add_argument("--port", type=int, default=PORT, help="on 127.0.0.1; replicas take the next ones; 0: any free")
    up.add_argument("--socket-folder", metavar="FOLDER", help="no network at all: unix sockets in this folder")
    up.add_argument("--tier", choices=("jail", "pod"), default=default.tier, help="pod: without the seccomp profile")
    up.add_argument("--workers", type=int, help="programs at a time in a container (default: one a core)")
    up.add_argument("--seccomp", type=Path, default=PROFILE, metavar="FILE", help="another profile than the project's")
    up.add_argument(
        "--token-file", type=Path, default=Path.home() / ".config" / "soroban" / "token", metavar="FILE",
        help="the token clients must bring; made if there is none (%(default)s)",
    )  # fmt: skip
    down = commands.add_parser("down", help="remove containers, running work included")
    down.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    commands.add_parser("ps", help="list containers: name, state, address")
    return parser
