"""A Model Context Protocol server over the sandbox: `python -m sandbox mcp`, on stdio or over HTTP.

Tools: `run_python` (a program of its own), `open_session`, `run_cell`, `fork_session`, `close_session`. A failure of
ours is a tool error, never a program's output. It refuses to listen beyond loopback. Needs the package `mcp` (2.x).
"""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server.mcpserver import MCPServer

from sandbox.client import AsyncSandbox, AsyncSession
from sandbox.errors import InputError, SessionLost
from sandbox.render import render
from sandbox.server.serve import _listen
from sandbox.types import ExecResult, Limits

_INSTRUCTIONS = (
    "Runs Python in an isolated sandbox without network; numpy and sympy are there. A session keeps its variables and "
    "files from cell to cell and can be forked."
)


def build_server(sandbox: AsyncSandbox, limits: Limits = Limits()) -> MCPServer[Any]:  # noqa: B008 - frozen
    """The server on `sandbox`, which the caller starts and closes. `limits` hold for each program and cell."""
    server: MCPServer[Any] = MCPServer("soroban-sandbox", instructions=_INSTRUCTIONS, log_level="WARNING")

    def session(session_id: str) -> AsyncSession:
        return AsyncSession(sandbox, session_id, None, limits)

    @server.tool()
    async def run_python(code: str, stdin: str = "") -> str:
        """Run Python code by itself and return what it prints, the value of its last expression, or its error."""
        return _shown(await sandbox.run(code, stdin=stdin, limits=limits))

    @server.tool()
    async def open_session() -> str:
        """Open a session, whose variables and files live from cell to cell; return its id."""
        return await sandbox.session(limits=limits).open()

    @server.tool()
    async def run_cell(session_id: str, code: str) -> str:
        """Run Python code as the session's next cell and return its output."""
        try:
            return _shown(await session(session_id).run(code))
        except SessionLost as error:
            return f"The session is gone, and its variables with it: {error}. Open another one."

    @server.tool()
    async def fork_session(session_id: str) -> str:
        """Copy a session with its variables and files; return the copy's id. Neither sees the other's later changes."""
        return await (await session(session_id).fork()).open()

    @server.tool()
    async def close_session(session_id: str) -> str:
        """End a session and drop its state."""
        await session(session_id).close()
        return "closed"

    return server


def _shown(result: ExecResult) -> str:
    return render(result, "notebook") or "(no output)"


def serve_mcp(url: str | None, *, token: str | None, http: bool, port: int) -> None:
    """Serve on stdio until the client ends it, or over HTTP on loopback (`/mcp`) until a signal does.

    Raises:
        SandboxUnavailable: there is no `url`, and this machine offers no isolation.
        InputError: a token without a `url`, or the port is not free.
    """
    if token is not None and url is None:
        raise InputError("--token-file is for --sandbox, the server that is asked; an embedded sandbox takes none")

    if http:
        _listen("127.0.0.1", port).close()  # uvicorn would log a taken port and exit with 3

    async def serving() -> None:
        async with AsyncSandbox(url, token=token) as sandbox:
            server = build_server(sandbox)
            # MCP over HTTP has no token here: whoever reaches the port runs programs.
            await (server.run_streamable_http_async(host="127.0.0.1", port=port) if http else server.run_stdio_async())

    asyncio.run(serving())
