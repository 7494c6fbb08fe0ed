"""`python -m sandbox image | up | down | ps`: sandbox containers from the command line.

`image` builds the image that `up` starts. `up` prints the addresses, one a line, and where the token is; `down` removes
what `up` made; `ps` lists it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from pathlib import Path

from sandbox.containers.hardening import IMAGE, PORT, PROFILE, Launch
from sandbox.errors import InputError
from sandbox.flags import Parser, read_text

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments`, of a parser with `add_commands`, say; return the exit code."""
    from sandbox.containers import container  # the Docker SDK

    if arguments.command == "image":
        return _image(arguments)
    if arguments.command == "up":
        return _up(arguments)
    if arguments.command == "down":
        names = arguments.names or [replica.name for replica in container.replicas()]
        container.remove(names)
        print(f"removed: {', '.join(names) or 'nothing, no sandbox container was there'}", file=sys.stderr)
        return 0
    found = container.replicas()
    if arguments.json:
        print(json.dumps([{"name": each.name, "status": each.status, "url": each.url} for each in found]))
        return 0
    for replica in found:
        print(f"{replica.name}\t{replica.status}\t{replica.url}")
    return 0


def _image(arguments: argparse.Namespace) -> int:
    from sandbox.containers.image import build

    given = {"BASE": arguments.base, "PIP_INDEX_URL": arguments.index_url}
    said = build(
        arguments.image,
        arguments={name: value for name, value in given.items() if value},
        wheels=arguments.wheels,
        certificates=arguments.certificates,
    )
    for line in said:
        if not arguments.quiet:
            print(line, file=sys.stderr, flush=True)
    print(arguments.image)
    return 0


def _up(arguments: argparse.Namespace) -> int:
    from sandbox.containers import container

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
        token = read_text(path).strip()
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


def add_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `image`, `up`, `down` and `ps` to the commands of a parser."""
    default = Launch()
    image = commands.add_parser(
        "image", help="build the sandbox image; a clone is not needed", config=True,
        examples="""
            --quiet
            --base debian:bookworm-slim --certificates company.crt
        """,
    )  # fmt: skip
    image.add_argument("--image", default=IMAGE, help="its name")
    image.add_argument(
        "--base", metavar="IMAGE", help="anything compatible with Debian 12 (default: debian:bookworm-slim)"
    )
    image.add_argument("--index-url", metavar="URL", help="package index (default: pip's)")
    image.add_argument(
        "--wheels", type=Path, nargs="+", default=[], metavar="FILE", help="install from these; then no index is asked"
    )
    image.add_argument(
        "--certificates", type=Path, nargs="+", default=[], metavar="FILE", help="*.crt of a private authority to trust"
    )
    image.add_argument("--quiet", action="store_true", help="print the image's name only")
    up = commands.add_parser(
        "up", help="start sandbox containers, return when they answer", config=True,
        examples="""
            --replicas 4
            --runtime runsc --socket-folder /run/soroban
        """,
    )  # fmt: skip
    up.add_argument("--image", default=IMAGE, help="made by `sandbox image`")
    up.add_argument("--replicas", type=int, default=default.replicas, help="containers")
    up.add_argument("--workers", type=int, help="programs at a time in a container (default: one a core)")
    up.add_argument(
        "--token-file", type=Path, default=Path.home() / ".config" / "soroban" / "token", metavar="FILE",
        help="the token clients must bring; made if there is none",
    )  # fmt: skip
    up.add_argument("--port", type=int, default=PORT, help="on 127.0.0.1; replicas take the next ones; 0: any free")
    up.add_argument("--socket-folder", metavar="FOLDER", help="no network at all: unix sockets in this folder")
    walls = up.add_argument_group("what a container gets")
    walls.add_argument("--memory", type=size, default=default.memory_bytes, metavar="SIZE", help="memory (default: 8g)")
    walls.add_argument("--cpus", type=float, help="processors (default: all)")
    walls.add_argument("--pids", type=int, default=default.processes, help="processes")
    walls.add_argument(
        "--tmp", type=size, default=default.tmp_bytes, metavar="SIZE", help="its only writable place (default: 1g)"
    )
    walls.add_argument("--runtime", help="the engine's runtime; runsc: gVisor, see docs/containers.md")
    walls.add_argument("--tier", choices=("jail", "pod"), default=default.tier, help="pod: without the seccomp profile")
    walls.add_argument("--seccomp", type=Path, default=PROFILE, metavar="FILE", help="default: the project's own")
    down = commands.add_parser("down", help="remove sandbox containers, running work included")
    down.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    ps = commands.add_parser("ps", help="list sandbox containers: name, state, address")
    ps.add_argument("--json", action="store_true", help="a list of objects")
