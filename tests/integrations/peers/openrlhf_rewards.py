"""OpenRLHF's executor loads and calls our reward file. Arguments: ROWS.jsonl. Prints a JSON list of the rewards."""

import asyncio
import json
import sys
from pathlib import Path

from openrlhf.utils.agent import SingleTurnAgentExecutor

import integrations.openrlhf


async def main():
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    executor = SingleTurnAgentExecutor(integrations.openrlhf.__file__)
    prompts = [f"<|im_start|>user\n{row['question']}<|im_end|>\n<|im_start|>assistant\n" for row in rows]
    queries = [prompt + row["solution"] + "<|im_end|>" for prompt, row in zip(prompts, rows, strict=True)]
    given = await executor._fetch_rewards_via_func(queries, prompts, [row["reference"] for row in rows])
    assert set(given[0]) == {"rewards", "scores", "extra_logs"}
    print(json.dumps([one["rewards"].item() for one in given]))


if __name__ == "__main__":
    asyncio.run(main())
