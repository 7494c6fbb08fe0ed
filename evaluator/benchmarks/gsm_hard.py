"""GSM-Hard: GSM8K's 1,319 test questions with larger numbers, solved by the original programs (arXiv 2211.10435).

{"input": "A robe takes 2287720 bolts of blue fiber and half that much white fiber.  How many …?",
 "code": "def solution(): …", "target": 3431580.0}

About one in ten references does not fit its question (a negative number of people, a third of an egg): they are the
benchmark's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import plain_number, published


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`, the answer 3431580.0 written as 3431580."""
    return Problem(
        id=f"gsm_hard/{index}",
        source="gsm_hard",
        language="en",
        question=row["input"],
        answer=plain_number(row["target"]),
        split="test",
    )


BENCHMARK = published(
    "gsm_hard",
    language="en",
    origin="gsmhardv2.jsonl of the data set reasoning-machines/gsm-hard",
    read=read,
)
