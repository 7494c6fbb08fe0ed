"""verl's reward loop scores with ours. Argument: ROWS.jsonl. Prints a JSON list of the scores."""

import asyncio
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from tiny import model_and_tokenizer
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.metric_utils import process_validation_metrics
from verl.trainer.ppo.reward import get_custom_reward_fn


def row_of(row, tokenizer):
    prompt, response = (torch.tensor([tokenizer(row[name])["input_ids"]]) for name in ("question", "solution"))
    batch = {
        "prompts": prompt,
        "responses": response,
        "attention_mask": torch.ones(1, prompt.shape[1] + response.shape[1], dtype=torch.long),
    }
    reward_model = {"ground_truth": row["reference"], "style": "rule"}
    other = {"data_source": "test", "reward_model": reward_model, "extra_info": {"question": row["question"]}}
    return DataProto.from_dict(
        batch, non_tensors={name: np.array([value], dtype=object) for name, value in other.items()}
    )


async def main():
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    _, tokenizer = model_and_tokenizer()
    function = {
        "path": "pkg://integrations.verl",
        "name": "compute_score",
        "reward_kwargs": {"weights": {"correct": 1}},
    }
    compute_score = get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": function}}))
    manager = NaiveRewardManager(types.SimpleNamespace(), tokenizer, compute_score)
    given = [await manager.run_single(row_of(row, tokenizer)) for row in rows]
    assert set(given[0]["reward_extra_info"]) == {"score", "acc", "format", "tool_use", "pred"}
    first = [one["reward_extra_info"] for one in given[:2]]
    validated = process_validation_metrics(
        ["test"] * 2, ["row"] * 2, {name: [one[name] for one in first] for name in first[0]}
    )
    assert validated["test"]["acc"]["mean@2"] == sum(one["acc"] for one in first) / 2
    assert "maj@2/mean" in validated["test"]["acc"], "a vote needs pred"
    print(json.dumps([one["reward_score"] for one in given]))


if __name__ == "__main__":
    asyncio.run(main())
