"""MATH-500: the 500 test problems of MATH that arXiv 2305.20050 kept from training; the usual subset since.

{"problem": "Convert the point $(0,3)$ …", "solution": "We have that …", "answer": "…",
 "subject": "Precalculus", "level": 2, "unique_id": "test/precalculus/807.json"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import published


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`, named after its place in MATH."""
    return Problem(
        id=f"math500/{row['unique_id'].removeprefix('test/').removesuffix('.json')}",
        source="math500",
        language="en",
        question=row["problem"],
        answer=row["answer"],
        subject=row["subject"],
        level=str(row["level"]),
        split="test",
    )


BENCHMARK = published(
    "math500",
    language="en",
    origin="test.jsonl of the data set HuggingFaceH4/MATH-500",
    read=read,
)
