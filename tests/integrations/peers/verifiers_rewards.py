"""verifiers scores tasks with our plugged rewards. Argument: ROWS.jsonl. Prints a JSON list of the rewards."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
import verifiers.v1 as vf
from verifiers.v1.configs.task import TaskConfig
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import AgentInfo, TraceTask
from verifiers.v1.types import AssistantMessage, ToolCall, ToolMessage, UserMessage


class Data(vf.TaskData):
    answer: str | None = None


class ByUs(vf.Task[Data]):
    pass


def trace_of(task, *messages):
    nodes = [MessageNode(message=message, parent=at - 1 if at else None) for at, message in enumerate(messages)]
    traced = TraceTask(type="ByUs", data=task.data)
    return vf.Trace(task=traced, agent=AgentInfo(config={}), nodes=nodes)


async def with_a_tool():
    """Every reward, of a rollout that called the tool."""
    plugged = {name: {"fn": f"integrations.verifiers:{name}"} for name in ("correct", "well_formed", "tool_use")}
    task = ByUs(Data(prompt="3 times 4?", answer="12"), TaskConfig.model_validate({"rewards": plugged}))
    call = ToolCall(id="1", name="python", arguments=json.dumps({"code": "print(3 * 4)"}))
    trace = trace_of(
        task,
        UserMessage(content="3 times 4?"),
        AssistantMessage(tool_calls=[call]),
        ToolMessage(tool_call_id="1", content="12"),
        AssistantMessage(content="It is $\\boxed{12}$."),
    )
    await task.score(trace)
    given = {name: reward.score for name, reward in trace.rewards.items()}
    assert given == {"correct": 1.0, "well_formed": 1.0, "tool_use": 1.0}, given


async def main():
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    plugged = {"correct": {"fn": "integrations.verifiers:correct", "weight": 2.0}}
    config = TaskConfig.model_validate({"rewards": plugged})
    given = []
    for row in rows:
        task = ByUs(Data(prompt=row["question"], answer=row["reference"]), config)
        trace = trace_of(task, UserMessage(content=row["question"]), AssistantMessage(content=row["solution"]))
        await task.score(trace)
        assert trace.reward == 2 * trace.rewards["correct"].score, "the weight of the configuration"
        given.append(trace.rewards["correct"].score)
    await with_a_tool()
    with pytest.raises(vf.TaskError, match="answer"):
        await ByUs(Data(prompt="1 + 1"), config).score(trace)
    print(json.dumps(given))


if __name__ == "__main__":
    asyncio.run(main())
