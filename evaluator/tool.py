"""The tool a model has during the exam: Python, in the sandbox, with state kept from program to program.

What a program did is shown to the model; what the sandbox failed to do is raised, and never shown, for it would be
graded as the model's.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from dataset.transcript import as_output
from evaluator.protocols import Protocol
from sandbox.client import AsyncSandbox, AsyncSession
from sandbox.guest.cells import to_python
from sandbox.render import render
from sandbox.types import ExecResult, Limits, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One program that was run: how it ended, how long it took, and whether the model read its output."""

    status: Status
    error: str | None
    wall_seconds: float
    queue_seconds: float
    truncated: bool
    shown: bool


class Tool:
    """The tool of one solution. Use it with `async with`: the session ends with it.

    The session is opened by the first program, so that a solution without programs costs no process.
    """

    def __init__(self, sandbox: AsyncSandbox, protocol: Protocol) -> None:
        self._sandbox = sandbox
        self._protocol = protocol
        self._limits = Limits(
            wall_seconds=protocol.tool_seconds,
            cpu_seconds=protocol.tool_seconds,
            memory_bytes=protocol.tool_memory_bytes,
        )
        self._session: AsyncSession | None = None
        self._earlier: list[str] = []
        self.calls: list[ToolCall] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_session()

    async def run(self, program: str, *, shown: bool) -> str:
        """The output of `program` as the model is shown it, fit to stand in an output block.

        Raises:
            SandboxError: the sandbox failed; the program is innocent.
        """
        result = await (self._in_session(program) if self._protocol.state == "session" else self._again(program))
        self.calls.append(
            ToolCall(
                status=result.status,
                error=result.error.type if result.error else None,
                wall_seconds=round(result.wall_seconds, 4),
                queue_seconds=round(result.queue_seconds, 4),
                truncated=bool(result.truncated.stdout or result.truncated.value),
                shown=shown,
            )
        )
        return as_output(render(result, self._protocol.profile, max_chars=self._protocol.output_characters))

    async def _in_session(self, program: str) -> ExecResult:
        if self._session is None:
            self._session = self._sandbox.session(limits=self._limits)
        result = await self._session.run(program)
        if result.state_lost:
            await self._end_session()  # the next program begins with an empty state, as its traceback will tell
        return result

    async def _again(self, program: str) -> ExecResult:
        program = as_python(program)
        whole = "\n".join([*self._earlier, program])
        self._earlier.append(without_prints(program))
        return await self._sandbox.run(whole, mode="script", limits=self._limits)

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def as_python(program: str) -> str:
    """`program`; where Python does not take it, as the sandbox reads a notebook's cell, so that it can be joined."""
    try:
        ast.parse(program)
    except SyntaxError:
        return to_python(program)
    except (ValueError, RecursionError, MemoryError):
        pass
    return program


def without_prints(program: str) -> str:
    """`program` without its top-level statements that are a call of print; as it is if it does not parse."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program
    lines = program.split("\n")
    for node in tree.body:
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "print"
        ):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "\n".join(lines)
