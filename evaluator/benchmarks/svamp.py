"""SVAMP, 1,000 one-step problems that were varied to defeat word patterns (arXiv 2103.07191).

{"ID": "chal-1", "Body": "Each pack of dvds costs 76 dollars. …", "Question": "How much do you have to pay …?",
 "Equation": "( 76.0 - 25.0 )", "Answer": 51.0, "Type": "Subtraction"}

The 300-row test split of the data set ChilleD/SVAMP is a part of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import plain_number, published


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`: body and question joined, the answer 51.0 written as 51."""
    body = row["Body"].strip()
    return Problem(
        id=f"svamp/{index}",
        source="svamp",
        language="en",
        question=f"{body}{' ' if body.endswith(('.', '?', '!', ',')) else '. '}{row['Question'].strip()}",
        answer=plain_number(row["Answer"]),
        subject=row["Type"],
        split="test",
    )


BENCHMARK = published(
    "svamp",
    language="en",
    origin="SVAMP.json of github.com/arkilpatel/SVAMP, an array or JSON Lines",
    read=read,
)
