"""GSM8K, the 1,319 test problems (arXiv 2110.14168): school arithmetic in words, every answer an integer.

{"question": "A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in total …?",
 "answer": "It takes 2/2=<<2/2=1>>1 bolt of white fiber\\nSo the total amount of fabric is 2+1=<<2+1=3>>3 … #### 3"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import published
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


BENCHMARK = published(
    "gsm8k",
    language="en",
    origin="test.jsonl of github.com/openai/grade-school-math",
    read=read,
)
