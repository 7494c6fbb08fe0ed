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
from verifiers.v1.types import AssistantMessage, UserMessage


class Data(vf.TaskData):
    answer: str | None = None


class ByUs(vf.Task[Data]):
    pass


def trace_of(task, *messages):
    nodes = [MessageNode(message=message, parent=at - 1 if at else None) for at, message in enumerate(messages)]
    traced = TraceTask(type="ByUs", data=task.data)
    return vf.Trace(task=traced, agent=AgentInfo(config={}), nodes=nodes)


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
    with pytest.raises(vf.TaskError, match="answer"):
        await ByUs(Data(prompt="1 + 1"), config).score(trace)
    print(json.dumps(given))


if __name__ == "__main__":
    asyncio.run(main())
