"""MATH: 7,500 competition problems for training (Hendrycks et al., arXiv 2103.03874, MIT).

    {"problem": "What is the positive difference between $120\\\\%$ of 30 and $130\\\\%$ of 20?", "level": "Level 1",
     "type": "Algebra", "solution": "One hundred twenty percent of 30 is … $\\\\boxed{10}$."}

The form of PRM800K's split (12,000 to train) is read as well; its `answer` is the reference:

    {"problem": "…", "solution": "…", "answer": "10", "subject": "Algebra", "level": 1,
     "unique_id": "train/algebra/1.json"}

The solution is the cot candidate; without `answer` the reference is what `dataset.answers.extract` finds in it. The
level is written "1", as in the benchmark. The data set was taken off its own place on the Hub in January 2025 (a
notice of the Art of Problem Solving's); the mirrors are named in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataset.answers import boxes, extract
from dataset.sources.records import Candidate, candidate, level_of, text_field
from dataset.types import Problem
from sandbox.errors import InputError


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The solution in words."""
    solution = text_field(row, "solution")
    if not boxes(solution):
        raise InputError("'solution' has no \\boxed answer")
    problem = Problem(
        id=f"math/{default_id}",
        source="math",
        language="en",
        question=text_field(row, "problem").strip(),
        answer=None,
        subject=text_field(row, "type", "subject"),
        level=level_of(row),
        split="train",
    )
    answer = text_field(row, "answer") if row.get("answer") is not None else extract(solution, problem)
    problem = replace(problem, answer=answer)
    return [candidate(problem, "cot", solution, "/cot")]
