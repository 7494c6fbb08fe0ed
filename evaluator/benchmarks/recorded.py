"""The problems of a file of recorded solutions, for `--backend replay` where no benchmark has them all.

{"id": "rho-1b/math500/0", "question": "Convert the point $(0,3)$ …", "reference": "(3,\\\\frac{\\\\pi}{2})", …}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import Benchmark


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem that the solution in `row` answers; files that were joined repeat ids, so the number is added."""
    return Problem(
        id=f"{row['id']}/{index}",
        source="recorded",
        language="en",
        question=row["question"],
        answer=row["reference"],
        split="test",
    )


BENCHMARK = Benchmark(
    name="recorded",
    language="en",
    file="recorded.jsonl",
    rows=None,
    sha256=None,
    pinned=("question", "reference"),
    origin="JSON Lines with id, question, reference and the recorded solution",
    read=read,
)
