"""TRL's own trainer computes rewards with ours. Arguments: ROWS.jsonl, [URL]. Prints a JSON list of float or null."""

import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from tiny import model_and_tokenizer  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from integrations.trl import solution_reward  # noqa: E402


def main(rows_file: str, url: str | None) -> None:
    rows = [json.loads(line) for line in Path(rows_file).read_text().splitlines()]
    model, tokenizer = model_and_tokenizer()
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[solution_reward(reference="reference", question="question", sandbox=url)],
        train_dataset=Dataset.from_list([{"prompt": "1 + 1", "reference": "2", "question": "1 + 1"}] * 2),
        args=GRPOConfig(
            output_dir="/tmp/soroban-trl",
            use_cpu=True,
            report_to="none",
            per_device_train_batch_size=2,
            num_generations=2,
        ),
    )
    inputs = [{"prompt": row["question"], **row} for row in rows]
    given = trainer._calculate_rewards(
        inputs, [row["question"] for row in rows], [row["solution"] for row in rows], [[0]] * len(rows)
    )
    assert given.shape == (len(rows), 1)
    print(json.dumps([None if torch.isnan(value) else value.item() for value in given[:, 0]]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
