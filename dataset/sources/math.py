"""MATH: 7,500 competition problems for training (Hendrycks et al., arXiv 2103.03874, MIT).

    {"problem": "What is the positive difference between $120\\\\%$ of 30 and $130\\\\%$ of 20?", "level": "Level 1",
     "type": "Algebra", "solution": "One hundred twenty percent of 30 is … $\\\\boxed{10}$."}

The solution is the cot candidate; the reference is what `dataset.answers.extract` finds in it. The data set was taken
off its own place on the Hub in January 2025 (a notice of the Art of Problem Solving's); the mirrors are named in the
table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataset.answers import boxes, extract
from dataset.sources.records import Candidate, candidate, text_field
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
        subject=text_field(row, "type"),
        level=text_field(row, "level"),
        split="train",
    )
    problem = replace(problem, answer=extract(solution, problem))
    return [candidate(problem, "cot", solution, "/cot")]
