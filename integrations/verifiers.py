"""verifiers 0.4: rewards that plug into a task by name, in its configuration or on its class.

    [env.taskset.task.rewards.correct]
    fn = "integrations.verifiers:correct"

They are called as verifiers calls its own (`verifiers.v1.task.Task.score`), with the task's data and the trace. The
data has the reference in a field `answer`. Where the sandbox failed they raise: verifiers records the error on the
trace and leaves the reward out. Its tool servers speak MCP, which `python -m sandbox mcp` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from integrations.messages import solution_turns
from integrations.reward import Reward, rewards_async
from sandbox import SandboxUnavailable

_MESSAGES = ("assistant", "tool")


async def correct(task: Any, trace: Any) -> float:
    """1 if the answer equals `task.answer`, else 0; the outputs of tools are believed."""
    return (await _judged(task, trace)).correct


async def well_formed(task: Any, trace: Any) -> float:
    """1 if the answer stands in a box in the last words and every block is closed, else 0."""
    return (await _judged(task, trace)).format


async def tool_use(task: Any, trace: Any) -> float:
    """1 if a program was run and the last one did not fail, else 0."""
    return (await _judged(task, trace)).tool_use


async def _judged(task: Any, trace: Any) -> Reward:
    reference = getattr(task, "answer", None)
    if reference is None:
        raise ValueError(f"{type(task).__name__} has no field 'answer', which is to hold the reference answer")
    messages: Sequence[Any] = trace.branches[-1].messages if trace.branches else []
    said = [message.model_dump() for message in messages if message.role in _MESSAGES]
    given = (await rewards_async([task.prompt_text], [str(reference)], [solution_turns(said)]))[0]
    if given is None:
        raise SandboxUnavailable(f"no reward: the reference cannot be read: {str(reference)[:200]!r}")
    return given
