"""inspect_ai 0.3: `sandbox="soroban"`, its `SandboxEnvironment` over sessions of a sandbox server.

    Task(…, sandbox=SandboxEnvironmentSpec("soroban", SorobanConfig(url="http://127.0.0.1:8000")))

A sample has a session: its folder is the sample's, and each command is a process in it. A command runs if the server's
Python environment has it: `python` always; a shell and what else a sample calls if they stand beside it
(docs/integrations.md says how). What is not there ends with 127, as in a shell, and says why. inspect_ai's own
`python()` tool asks for a shell that starts Python: a shell with one plain command is done without.

Not there: other users (`user=` is refused), a network, ports, and `exec_remote`, which brings a binary of its own.

A failure of ours is raised as it is (`SandboxError`): inspect_ai records a sample error and scores nothing. So is a
session that is lost; give the server `--max-sessions` of at least the samples that run at a time.
"""

from __future__ import annotations

import ast
import errno
import inspect
import json
import os
import shlex
from collections.abc import Mapping
from typing import Any, Literal, Union, overload

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    SandboxUserUnsupportedError,
    sandboxenv,
)
from pydantic import BaseModel

from integrations import inspect_guest
from sandbox import AsyncSandbox, AsyncSession, SandboxUnavailable
from sandbox import ExecResult as CellResult
from sandbox.types import GIB, MIB, Limits

PIECE_BYTES = 16 * MIB  # of a file, on its way: far below what a request and an answer may hold
_GRACE_SECONDS = 10.0  # the cell's own limit beyond the command's: reaching it would end the session
_SHELLS = frozenset({"sh", "bash", "/bin/sh", "/bin/bash"})
_NOT_FOUND, _KILLED = 127, 137


class SorobanConfig(BaseModel, frozen=True):
    """`url`: a server's address; without one SOROBAN_SANDBOX_URL. The token is SOROBAN_SANDBOX_TOKEN.

    `exec_seconds` holds for a command that brings no timeout; the other limits hold for a sample. `idle_seconds` is how
    long it may wait for its model, `patience_seconds` how long a server that does not answer is asked again.
    """

    url: str | None = None
    exec_seconds: float = 600.0
    memory_bytes: int = 2 * GIB
    file_bytes: int = 1 * GIB
    processes: int = 64
    idle_seconds: float = 3600.0
    patience_seconds: float = 60.0


@sandboxenv(name="soroban")  # type: ignore[untyped-decorator, unused-ignore]
class SorobanSandboxEnvironment(SandboxEnvironment):  # type: ignore[misc, unused-ignore]
    """One sample's session."""

    def __init__(self, config: SorobanConfig) -> None:
        super().__init__()
        url = config.url or os.environ.get("SOROBAN_SANDBOX_URL")
        if not url:
            raise ValueError('sandbox "soroban" needs a server: SorobanConfig(url="http://…") or SOROBAN_SANDBOX_URL')
        self._config, token = config, os.environ.get("SOROBAN_SANDBOX_TOKEN")
        self._client = AsyncSandbox(url, token=token, patience_seconds=config.patience_seconds)
        self._session: AsyncSession | None = None

    @classmethod
    async def sample_init(
        cls, task_name: str, config: BaseModel | str | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        if not isinstance(config, SorobanConfig | None):
            raise ValueError(f'sandbox "soroban" is configured by a SorobanConfig, not by {config!r}')
        environment = cls(config or SorobanConfig())
        try:
            await environment._opened()
        except BaseException:  # also cancelled: nobody cleans up what was not made
            await environment.close()
            raise
        return {"default": environment}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: BaseModel | str | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        for environment in environments.values():
            await environment.as_type(cls).close()

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        return SorobanConfig(**config)

    async def close(self) -> None:
        """End the session and the connection to the server."""
        if self._session is not None:
            await self._session.close()
        await self._client.close()

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """As inspect_ai says. A command that times out is not tried again: it may have done half of its work."""
        if user is not None:
            raise SandboxUserUnsupportedError(f"a soroban sandbox has one user, and cannot run a command as {user!r}")
        if input is not None:
            await self.write_file(".soroban/input", input)
        seconds = timeout if timeout is not None else self._config.exec_seconds
        call = {"verb": "run", "seconds": seconds, "cwd": cwd, "env": env or {}, "has_input": input is not None}
        try:
            try:
                code, result = await self._do({**call, "command": cmd}, seconds)
            except FileNotFoundError:
                if (command := _within_a_shell(cmd)) is None:
                    raise
                code, result = await self._do({**call, "command": command}, seconds)
        except FileNotFoundError as error:
            said = (
                f"{error.filename}: not found. A soroban sandbox has Python, and a shell only where its server has one."
            )
            return ExecResult(False, _NOT_FOUND, "", said + "\n")
        if result.state_lost or not result.ok:
            return await self._ended(result)
        if code is None:
            raise TimeoutError(f"{shlex.join(cmd)[:200]} did not end within {seconds} seconds")
        if result.truncated.stdout or result.truncated.stderr:
            limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR
            raise OutputLimitExceededError(limit, result.stdout if result.truncated.stdout else result.stderr)
        return ExecResult(code == 0, code or 0, result.stdout, result.stderr)

    async def write_file(self, file: str, contents: str | bytes) -> None:
        data = contents.encode() if isinstance(contents, str) else contents
        for at in range(0, max(len(data), 1), PIECE_BYTES):
            piece = {inspect_guest.PIECE: data[at : at + PIECE_BYTES]}
            await self._do({"verb": "write", "path": file, "append": at > 0}, files=piece)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> Union[str, bytes]:  # noqa: UP007 - as inspect_ai has it
        most, data, size = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE, b"", 1
        while len(data) < size:
            call = {"verb": "read", "path": file, "offset": len(data), "most": min(PIECE_BYTES, most)}
            size, result = await self._do(call, fetch=(inspect_guest.PIECE,))
            if size > most:
                raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)
            piece = result.files[inspect_guest.PIECE]
            if not piece:  # it has become shorter meanwhile
                break
            data += piece
        return data.decode() if text else data

    async def _ended(self, result: CellResult) -> ExecResult[str]:
        """What a command is told that took the whole session with it; the next one begins a new session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        said = f"Killed ({result.status}), and the sandbox with it: its files are gone.\n"
        return ExecResult(False, _KILLED, result.stdout, result.stderr + said)

    async def _opened(self) -> AsyncSession:
        if self._session is None:
            limits = self._limits(60.0)
            self._session = self._client.session(ttl_seconds=self._config.idle_seconds, limits=limits)
            result = await self._session.run(inspect.getsource(inspect_guest), limits=limits)
            assert result.ok, result
        return self._session

    def _limits(self, seconds: float) -> Limits:
        most = Limits.MAXIMUM
        wall = min(seconds + _GRACE_SECONDS, most["wall_seconds"])
        return Limits(
            wall_seconds=wall,
            cpu_seconds=min(wall * self._config.processes, most["cpu_seconds"]),
            memory_bytes=self._config.memory_bytes,
            output_bytes=min(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE, int(most["output_bytes"])),
            processes=self._config.processes,
            file_bytes=self._config.file_bytes,
        )

    async def _do(
        self,
        call: Mapping[str, Any],
        seconds: float = 60.0,
        files: Mapping[str, bytes] | None = None,
        fetch: tuple[str, ...] = (),
    ) -> tuple[Any, CellResult]:
        """What `inspect_guest.answer` says to `call`, and the cell that it was.

        Raises:
            OSError: as it was raised there.
        """
        session = await self._opened()
        sent = {**(files or {}), inspect_guest.CALL: json.dumps(call).encode()}
        result = await session.run("answer()", files=sent, fetch=fetch, limits=self._limits(seconds))
        if (result.state_lost or not result.ok) and call["verb"] == "run":
            return None, result
        if not result.ok or result.value is None:
            raise SandboxUnavailable(f"the sample's session ended ({result.status}) while a file was moved: {call}")
        said = json.loads(ast.literal_eval(result.value))
        if "errno" in said:
            raise OSError(said["errno"], said["message"] or errno.errorcode.get(said["errno"]), said["file"])
        return said["value"], result


def _within_a_shell(cmd: list[str]) -> list[str] | None:
    """The words of a shell's script that is one plain command, so that no shell is needed; None if it is more."""
    if cmd[0] not in _SHELLS or "-c" not in cmd[1:-1]:
        return None
    script = cmd[cmd.index("-c") + 1]
    if set(script) & set("$`*?[]{}~!#=\n"):
        return None
    try:
        lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:
        return None
    return None if not words or any(set(word) <= set("();<>|&") for word in words) else words
