"""`python -m sandbox serve | relay | mcp | run | doctor | image | up | down | ps`: servers, programs, containers."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from sandbox.coding import result_to_json
from sandbox.command import run_command
from sandbox.containers import up
from sandbox.errors import InputError
from sandbox.flags import Parser, program, read_text, version
from sandbox.render import DEFAULT_CHARS, render
from sandbox.server.serve import ServerConfig, serve
from sandbox.types import Limits


def main(argv: list[str]) -> int:
    """Run the command in `argv`; return its exit code."""
    arguments = parser().parse_args(argv)
    if arguments.command in ("image", "up", "down", "ps"):
        return up.run(arguments)
    if arguments.command == "serve":
        serve(_server_config(arguments))
        return 0
    if arguments.command == "relay":
        from sandbox.server.relay import relay

        relay(arguments.to.split(","), port=arguments.port, token=_token(arguments.token_file))
        return 0
    if arguments.command == "mcp":
        from sandbox.server.mcp import serve_mcp

        serve_mcp(arguments.sandbox, token=_token(arguments.token_file), http=arguments.http, port=arguments.port)
        return 0
    if arguments.command == "run":
        return _run(arguments)
    from sandbox.engine.doctor import main as doctor

    return doctor(as_json=arguments.json)


def _run(arguments: argparse.Namespace) -> int:
    """Run one program; its streams go to ours.

    The exit code is the program's own, or, as in a shell, 124 (timeout), 137 (memory), 128 + signal.
    """
    from sandbox.client.blocking import Sandbox

    code = sys.stdin.read() if arguments.file == "-" else read_text(arguments.file)
    limits = dataclasses.replace(
        Limits(),
        wall_seconds=arguments.wall_seconds,
        cpu_seconds=arguments.wall_seconds,
        memory_bytes=arguments.memory_mib << 20,
    )
    token = _token(arguments.token_file)
    if arguments.sandbox is None:
        sandbox = Sandbox(workers=1, isolation=arguments.isolation)
    else:
        sandbox = Sandbox(arguments.sandbox, token=token, patience_seconds=arguments.patience)
    with sandbox:
        result = sandbox.run(code, mode=arguments.mode, limits=limits, seed=arguments.seed)
    if arguments.json:
        print(json.dumps(result_to_json(result)))
        return 0
    if arguments.profile is not None:
        print(render(result, arguments.profile))
        return 0
    sys.stdout.write(result.stdout)
    if result.value is not None:
        print(result.value)
    sys.stderr.write(result.stderr)
    if result.error is not None:
        print(result.error.traceback.rstrip(), file=sys.stderr)
    if result.status in ("timeout", "memory_limit", "killed"):
        print(f"sandbox: {result.status} after {result.wall_seconds:.2f} s", file=sys.stderr)
    if result.exit_code is not None:
        return result.exit_code
    return {"timeout": 124, "memory_limit": 137}.get(result.status, 128 + (result.signal or 0))


def _server_config(arguments: argparse.Namespace) -> ServerConfig:
    return ServerConfig(
        host=arguments.host,
        port=arguments.port,
        uds=arguments.uds,
        workers=arguments.workers,
        max_queue=arguments.max_queue,
        max_sessions=arguments.max_sessions,
        session_ttl_seconds=arguments.session_ttl_seconds,
        preload=tuple(name for name in arguments.preload.split(",") if name),
        isolation=arguments.isolation,
        token=_token(arguments.token_file),
        max_body_bytes=arguments.max_body_bytes,
        max_connections=arguments.max_connections,
        drain_seconds=arguments.drain_seconds,
        processes=arguments.processes,
    )


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    token = read_text(path).strip()
    if not token:
        raise InputError(f"{path} is empty; expected a token on its first line")
    return token


def parser() -> Parser:
    """The parser; `command` in its result names the command."""
    default = ServerConfig()
    whole = Parser(prog=program("sandbox"), description="Runs untrusted Python.")
    whole.add_argument("--version", action="version", version=version())
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser(
        "serve", help="answer over HTTP", config=True,
        examples="""
            --port 8000 --workers 8
            --host 0.0.0.0 --token-file token --processes 4
        """,
    )  # fmt: skip
    _add_isolation(command)
    command.add_argument("--workers", type=int, help="programs at a time (default: one a core)")
    command.add_argument(
        "--processes",
        type=int,
        default=default.processes,
        help="server processes that share the port; one for every 6 workers",
    )
    command.add_argument(
        "--preload", default=",".join(default.preload), help="modules that are loaded already when a program starts"
    )
    address = command.add_argument_group("address")
    address.add_argument("--host", default=default.host, help="address to listen on; beyond loopback needs a token")
    address.add_argument("--port", type=int, default=default.port, help="0: any free one")
    address.add_argument("--uds", metavar="PATH", help="listen on a unix socket instead of a port; needs no token")
    address.add_argument("--token-file", metavar="FILE", help="file with the token that clients must bring")
    bounds = command.add_argument_group("bounds")
    bounds.add_argument("--max-queue", type=int, default=default.max_queue, help="programs that may wait for a worker")
    bounds.add_argument(
        "--max-sessions",
        type=int,
        default=default.max_sessions,
        help="sessions at a time; beyond them the one idle longest ends",
    )
    bounds.add_argument(
        "--session-ttl-seconds",
        type=float,
        default=default.session_ttl_seconds,
        help="a session ends after so long without a cell",
    )
    bounds.add_argument("--max-body-bytes", type=int, default=default.max_body_bytes, help="largest request")
    bounds.add_argument("--max-connections", type=int, default=default.max_connections, help="of each process")
    bounds.add_argument(
        "--drain-seconds", type=int, default=default.drain_seconds, help="how long SIGTERM waits for running programs"
    )

    command = commands.add_parser(
        "relay", help="other projects' routes on loopback, for servers elsewhere", config=True,
        examples="--to http://box1:8000,http://box2:8000 --token-file token",
    )  # fmt: skip
    command.add_argument("--to", required=True, metavar="URL[,URL]", help="the sandbox servers that are asked")
    command.add_argument("--port", type=int, default=8080, help="on loopback; 0: any free one")
    command.add_argument("--token-file", metavar="FILE", help="file with the servers' token")

    command = commands.add_parser(
        "mcp", help="Model Context Protocol on stdio, or on loopback over HTTP", config=True,
        examples="--http --port 8001",
    )  # fmt: skip
    _add_server(command)
    command.add_argument("--http", action="store_true", help="over HTTP, at /mcp")
    command.add_argument("--port", type=int, default=8001, help="for --http")

    command = commands.add_parser(
        "run", help="run one program", config=True,
        examples="""
            program.py
            program.py --sandbox http://box1:8000 --token-file token --json
        """,
    )  # fmt: skip
    command.add_argument("file", metavar="FILE|-", help="Python source, - for standard input")
    _add_server(command)
    _add_isolation(command)
    command.add_argument(
        "--mode", choices=("notebook", "script"), default="script", help="notebook: show the last expression"
    )
    command.add_argument("--seed", type=int, default=0, help="of Python's and numpy's random numbers")
    command.add_argument(
        "--wall-seconds", type=float, default=Limits().wall_seconds, help="longest run, on the clock and of the CPU"
    )
    command.add_argument(
        "--memory-mib", type=int, default=Limits().memory_bytes >> 20, help="most memory of the program"
    )
    command.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS", help="how long a server may be full or away"
    )
    command.add_argument("--profile", choices=tuple(DEFAULT_CHARS), help="print what a model would be shown")
    command.add_argument("--json", action="store_true", help="print the whole result, as the server would answer")

    command = commands.add_parser("doctor", help="what this machine offers, and what is missing")
    command.add_argument("--json", action="store_true", help="print the findings as JSON")
    up.add_commands(commands)
    return whole


def _add_isolation(command: Parser) -> None:
    command.add_argument(
        "--isolation",
        choices=("auto", "jail", "pod", "none"),
        default=ServerConfig().isolation,
        help="auto: the strongest that this machine offers, or an error. none: no walls at all, for code you trust",
    )


def _add_server(command: Parser) -> None:
    command.add_argument("--sandbox", "--url", metavar="URL[,URL…]", help="run on this server instead of here")
    command.add_argument("--token-file", metavar="FILE", help="file with that server's token")


if __name__ == "__main__":
    sys.exit(run_command(main, goes_on=False))
