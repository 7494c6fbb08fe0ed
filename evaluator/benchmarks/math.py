"""MATH, the 5,000 test problems (arXiv 2103.03874): competition mathematics in seven subjects and five levels.

{"problem": "How many vertical asymptotes does the graph of $y=\\\\frac{2}{x^2+x-6}$ have?", "level": "Level 3",
 "type": "Algebra", "solution": "The denominator … Therefore, the graph has $\\\\boxed{2}$ …", "idx": 0}

The reference is what `dataset.answers.extract` finds in the solution: in eight, several boxes are one answer; 90 box an
intermediate result as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataset.answers import boxes, extract
from dataset.types import Problem
from evaluator.benchmarks.types import published
from sandbox.errors import InputError


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`; its reference is found in the solution as a model's answer is."""
    if not boxes(row["solution"]):
        raise InputError("the solution has no box")
    problem = Problem(
        id=f"math/{row.get('idx', index)}",
        source="math",
        language="en",
        question=row["problem"],
        answer=None,
        subject=row["type"],
        level=str(row["level"]).removeprefix("Level "),
        split="test",
    )
    return replace(problem, answer=extract(row["solution"], problem))


BENCHMARK = published(
    "math",
    language="en",
    origin="the test set of Hendrycks et al.; github.com/microsoft/ToRA keeps it as src/data/math/test.jsonl",
    read=read,
)
