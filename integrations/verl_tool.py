"""verl 0.9: the Python tool of multi-turn rollouts, for `actor_rollout_ref.rollout.multi_turn.tool_config_path`.

    tools:
      - class_name: integrations.verl_tool.PythonTool
        config: {type: native, sandbox: "http://127.0.0.1:8000", wall_seconds: 10}

The class is verl's `BaseTool`. verl's agent loop calls `create` and `release` around each call, and hands `execute` the
trajectory's `agent_data`: a session belongs to that, so that variables live from call to call, and ends when verl lets
it go. Without `agent_data` a session lasts from `create` to `release`. A failure of ours is raised: verl's agent loop
shows the model an exception of a tool, so keep the server up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
import weakref
from typing import Any

from verl.tools.base_tool import BaseTool
from verl.tools.schemas import OpenAIFunctionToolSchema, ToolResponse

from integrations.messages import TOOL_ARGUMENT
from integrations.tool import OPENAI_TOOL, AsyncTool
from sandbox import AsyncSandbox
from sandbox.types import Limits


class PythonTool(BaseTool):  # type: ignore[misc]
    """`config`: `sandbox` (address), `token`, and any field of `sandbox.Limits`."""

    def __init__(self, config: dict[str, Any], tool_schema: OpenAIFunctionToolSchema | None = None) -> None:
        super().__init__(config, tool_schema or OpenAIFunctionToolSchema.model_validate(OPENAI_TOOL))
        known = {field.name for field in dataclasses.fields(Limits)}
        self._limits = Limits(**{name: value for name, value in config.items() if name in known})
        self._limits.check()
        self._sandbox = AsyncSandbox(config.get("sandbox"), token=config.get("token"))
        self._tools: dict[str, AsyncTool] = {}
        self._trajectories: weakref.WeakKeyDictionary[Any, AsyncTool] = weakref.WeakKeyDictionary()

    async def create(self, instance_id: str | None = None, **_: Any) -> tuple[str, ToolResponse]:
        name = instance_id or str(uuid.uuid4())
        self._tools[name] = AsyncTool(self._sandbox, limits=self._limits)
        return name, ToolResponse()

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], *, agent_data: Any = None, **_: Any
    ) -> tuple[ToolResponse, float, dict[str, Any]]:
        code = parameters.get(TOOL_ARGUMENT)
        if not isinstance(code, str):
            got = ", ".join(parameters) or "none"
            said = f"The tool takes one argument, {TOOL_ARGUMENT}, with the Python code; got {got}."
            return ToolResponse(text=said), 0.0, {}
        tool = self._tools[instance_id] if agent_data is None else self._of(agent_data)
        return ToolResponse(text=await tool.run(code) or "(no output)"), 0.0, {}

    async def release(self, instance_id: str, **_: Any) -> None:
        tool = self._tools.pop(instance_id, None)
        if tool is not None:
            await tool.close()

    def _of(self, agent_data: Any) -> AsyncTool:
        """The tool of a trajectory."""
        tool = self._trajectories.get(agent_data)
        if tool is None:
            tool = self._trajectories[agent_data] = AsyncTool(self._sandbox, limits=self._limits)
            # verl says nowhere that a trajectory has ended.
            weakref.finalize(agent_data, _end, tool, asyncio.get_running_loop()).atexit = False
        return tool


def _end(tool: AsyncTool, loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        asyncio.run_coroutine_threadsafe(tool.close(), loop)
