"""AIME, or any set in its manner: competition problems whose answers are integers from 0 to 999.

{"problem": "Find the number of ways to …", "answer": "073", "year": 2024}

Nothing is pinned: there are two papers of fifteen problems a year, and sets of all kinds of years.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import Benchmark
from sandbox.errors import InputError


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`: the answer 073 written as 73, `level` the year where there is one."""
    answer = str(row["answer"]).strip()
    if not (answer.isascii() and answer.isdecimal() and len(answer) <= 3):
        raise InputError(f"the answer is {answer!r}, expected an integer from 0 to 999")
    return Problem(
        id=f"aime/{row.get('id', index)}",
        source="aime",
        language="en",
        question=row["problem"],
        answer=str(int(answer)),
        level=str(row.get("year", "")),
        split="test",
    )


BENCHMARK = Benchmark(
    name="aime",
    language="en",
    file="aime.jsonl",
    rows=None,
    sha256=None,
    pinned=("problem", "answer"),
    origin="JSON Lines with problem and answer, an integer from 0 to 999",
    read=read,
)
