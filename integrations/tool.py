"""The Python tool of a rollout: a session that opens with its first program, and text for the model.

What the sandbox failed to do is raised (`SandboxError`) and never shown to a model as its program's output.
"""

from __future__ import annotations

import asyncio
from typing import Any

from integrations.messages import TOOL_ARGUMENT, TOOL_NAME
from integrations.reward import shared_sandbox
from sandbox import AsyncSandbox, AsyncSession, Sandbox, Session, render
from sandbox.render import Profile
from sandbox.types import Limits

# For any model that takes OpenAI's tools.
OPENAI_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": (
            "Run Python code. Variables and files are kept from call to call. numpy and sympy are there; there is no "
            "network. Returns what the code prints, the value of its last expression, or its error."
        ),
        "parameters": {
            "type": "object",
            "properties": {TOOL_ARGUMENT: {"type": "string", "description": "The Python code to run."}},
            "required": [TOOL_ARGUMENT],
        },
    },
}


class BlockingTool:
    """The tool of one rollout after another, for callers without an event loop. `sandbox` None: one here."""

    def __init__(
        self,
        sandbox: str | Sandbox | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        profile: Profile = "notebook",
        max_chars: int | None = None,
    ) -> None:
        self._where = sandbox
        self._limits, self._profile, self._max_chars = limits, profile, max_chars
        self._session: Session | None = None

    def run(self, code: str) -> str:
        """What a model is shown of `code` as the rollout's next program. Raises SandboxError where we failed."""
        if self._session is None:
            self._session = self._sandbox().session(limits=self._limits)
        result = self._session.run(code, limits=self._limits)
        if result.state_lost:
            self.reset()  # the next program begins with an empty state, as the text says
        return render(result, self._profile, max_chars=self._max_chars)

    def run_alone(self, code: str) -> str:
        """What a model is shown of `code` as a program that shares nothing."""
        return render(self._sandbox().run(code, limits=self._limits), self._profile, max_chars=self._max_chars)

    def reset(self) -> None:
        """End the rollout: the next program begins with an empty state."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _sandbox(self) -> Sandbox:
        return self._where if isinstance(self._where, Sandbox) else shared_sandbox(self._where or "embedded")


class AsyncTool:
    """The tool of one rollout on an event loop; `sandbox` is the caller's and stays open.

    Calls that a model makes at once run one after another, in their order.
    """

    def __init__(
        self,
        sandbox: AsyncSandbox,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        profile: Profile = "notebook",
        max_chars: int | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._limits, self._profile, self._max_chars = limits, profile, max_chars
        self._session: AsyncSession | None = None
        self._turn = asyncio.Lock()

    async def run(self, code: str) -> str:
        """As `BlockingTool.run`."""
        async with self._turn:  # a session runs one cell at a time
            if self._session is None:
                self._session = self._sandbox.session(limits=self._limits)
            result = await self._session.run(code, limits=self._limits)
            if result.state_lost:
                await self.close()
        return render(result, self._profile, max_chars=self._max_chars)

    async def close(self) -> None:
        """End the rollout."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
