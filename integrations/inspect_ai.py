"""inspect_ai 0.3: the Python tool for its agents, `use_tools(soroban_python())`, a session for each sample.

It takes the place of inspect_ai's own `python()` tool and needs none of its sandbox environments. Variables live from
call to call; in `inspect_sandbox`, the provider for `sandbox=…`, each call is a process of its own.

A failure of ours is raised out of the tool, so that inspect_ai records a sample error and scores nothing.
"""

from __future__ import annotations

from inspect_ai.tool import Tool, tool
from inspect_ai.util import store

from integrations.tool import AsyncTool
from sandbox import AsyncSandbox
from sandbox.types import Limits

_KEY = "soroban_python"


@tool(name="python")  # type: ignore[untyped-decorator, unused-ignore]
def soroban_python(
    sandbox: str | None = None,
    token: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    patience_seconds: float = 60.0,
) -> Tool:
    """The tool. `sandbox` is a server's address; without one the programs run in an engine of this process.

    `patience_seconds` is how long a server that does not answer is asked again.
    """
    client = AsyncSandbox(sandbox, token=token, patience_seconds=patience_seconds)

    async def execute(code: str) -> str:
        """
        Run Python code. Variables and files are kept from call to call. numpy and sympy are there; there is no network.

        Args:
            code: The Python code to run.

        Returns:
            What the code prints, the value of its last expression, or its error.
        """
        sessions: dict[str, AsyncTool] = store().get(_KEY, {})  # a store belongs to one sample
        if "tool" not in sessions:
            sessions["tool"] = AsyncTool(client, limits=limits)
            store().set(_KEY, sessions)
        return await sessions["tool"].run(code) or "(no output)"

    return execute
