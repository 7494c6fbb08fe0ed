"""GSM8K, the 1,319 test problems (arXiv 2110.14168): school arithmetic in words, every answer an integer.

{"question": "A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in total …?",
 "answer": "It takes 2/2=<<2/2=1>>1 bolt of white fiber\\nSo the total amount of fabric is 2+1=<<2+1=3>>3 … #### 3"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import Benchmark, HubFile
from sandbox.errors import InputError


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`; what follows "####" is the answer, without its thousands separators."""
    _, mark, answer = row["answer"].rpartition("####")
    if not mark:
        raise InputError("the answer has no '####' before its number")
    return Problem(
        id=f"gsm8k/{index}",
        source="gsm8k",
        language="en",
        question=row["question"],
        answer=answer.strip().replace(",", ""),
        split="test",
    )


BENCHMARK = Benchmark(
    name="gsm8k",
    language="en",
    file="gsm8k_test.jsonl",
    rows=1319,
    sha256="036eef00543391e456f7cf3d3a3c34d0aeb966f63edf400a71a52a99e3b6df13",
    pinned=("question", "answer"),
    origin="test.jsonl of github.com/openai/grade-school-math",
    read=read,
    hub=HubFile(
        repository="openai/gsm8k",
        revision="cc7b047b6e5bb11b4f1af84efc572db110a51b3c",
        file="main/test-00000-of-00001.parquet",
    ),
)
