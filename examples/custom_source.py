"""Training data in a form of your own, as a source of `dataset build`: read once, then verified and mixed as any other.

python examples/custom_source.py --file lessons.jsonl --out runs/lessons
python -m dataset verify runs/lessons/candidates.jsonl --out runs/verified

A line of lessons.jsonl: {"task": "What is 6 times 7?", "gold": "42", "words": "It is 42.", "python": "print(6 * 7)"}
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from dataset.__main__ import main
from dataset.sources import SOURCES, Source
from dataset.sources.records import Candidate, candidate, text_field
from dataset.types import Problem, Turn
from sandbox.command import run_command


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """One solution in words, and one by a program where the row has one. `text_field` names a field that is missing."""
    problem = Problem(
        id=f"lessons/{default_id}",
        source="lessons",
        language="en",
        question=text_field(row, "task"),
        answer=text_field(row, "gold"),
    )
    solutions = [candidate(problem, "cot", text_field(row, "words"))]
    if "python" in row:
        solutions.append(candidate(problem, "pot", (Turn("code", text_field(row, "python")),), "/pot"))
    return solutions


SOURCES["lessons"] = Source(name="lessons", convert=convert, licence="your own")

if __name__ == "__main__":
    sys.argv[1:1] = ["build", "lessons"]
    sys.exit(run_command(main))
