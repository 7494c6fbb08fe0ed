"""OpenRLHF's executor loads and calls our reward file. Arguments: ROWS.jsonl. Prints a JSON list of the rewards."""

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace

from openrlhf.utils.agent import SingleTurnAgentExecutor
from tiny import model_and_tokenizer

import integrations.openrlhf


class Engine:
    """Says one answer."""

    def __init__(self, tokens):
        self.tokens = tokens

    async def generate(self, *_, **__):
        said = SimpleNamespace(token_ids=self.tokens, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[said])


async def rolled_out(executor):
    """What the executor keeps of a reward, and what goes into the trainer's experience of it."""
    _, tokenizer = model_and_tokenizer()
    engine = Engine(tokenizer("It is $\\boxed{12}$.<|im_end|>")["input_ids"])
    params = SimpleNamespace(max_tokens=64, logprobs=None)
    done = await executor.execute("3 times 4?", "12", params, 128, tokenizer, engine)
    logs = {name: value.item() for name, value in done["extra_logs"].items()}
    assert (done["reward"].item(), done["scores"].item(), logs) == (1.0, 1.0, {"format": 1.0, "tool_use": 0.0}), done


async def main():
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    executor = SingleTurnAgentExecutor(integrations.openrlhf.__file__)
    prompts = [f"<|im_start|>user\n{row['question']}<|im_end|>\n<|im_start|>assistant\n" for row in rows]
    queries = [prompt + row["solution"] + "<|im_end|>" for prompt, row in zip(prompts, rows, strict=True)]
    given = await executor._fetch_rewards_via_func(queries, prompts, [row["reference"] for row in rows])
    assert set(given[0]) == {"rewards", "scores", "extra_logs"}
    await rolled_out(executor)
    print(json.dumps([one["rewards"].item() for one in given]))


if __name__ == "__main__":
    asyncio.run(main())
