"""A benchmark of your own, with the evaluator's sampling, sandbox, grader and table. It takes `evaluator run`'s flags.

python examples/custom_benchmark.py --file exam.jsonl --model Qwen/Qwen3-8B --tools --no-tools --out runs/exam
python -m evaluator report runs/exam --out exam.html

A line of exam.jsonl: {"n": "7b", "task": "What is 6 times 7?", "solution": "42", "topic": "arithmetic"}
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.__main__ import main
from evaluator.benchmarks import BENCHMARKS
from evaluator.benchmarks.types import Benchmark
from sandbox.command import run_command


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in one line of the file; a missing field is reported with its line."""
    return Problem(
        id=f"exam/{row['n']}",
        source="exam",
        language="en",
        question=row["task"],
        answer=row["solution"],
        subject=row.get("topic", ""),  # the table's --parts and `compare` show it apart
        split="test",
    )


BENCHMARKS["exam"] = Benchmark(
    name="exam",
    language="en",
    file="exam.jsonl",
    rows=None,  # give the number of rows and `evaluator.benchmarks.types.fingerprint` of them once the set is final
    sha256=None,
    pinned=("task", "solution"),
    origin="your own",
    read=read,
)

if __name__ == "__main__":
    sys.argv[1:1] = ["run", "--benchmark", "exam"]
    sys.exit(run_command(main))
