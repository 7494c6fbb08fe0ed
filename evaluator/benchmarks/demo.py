"""The demo's own fresh problems, or any file of problems in the project's form: `test.jsonl` of `dataset build demo`.

{"id": "demo/test/0", "source": "demo", "language": "en", "question": "…", "answer": "42", "subject": "…", "level": "2",
 "split": "test"}

Nothing is pinned: the score stands for the file it was measured on, whose hash is in the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from dataset.types import Language, Problem
from evaluator.benchmarks.types import Benchmark
from sandbox.errors import InputError


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`, as it is."""
    wrong = [name for name in ("id", "source", "question", "answer") if not isinstance(row[name], str)]
    if wrong:
        raise InputError(f"{', '.join(wrong)}: expected a string")
    if row["language"] not in get_args(Language):
        raise InputError(f"language is {row['language']!r}, expected {' or '.join(get_args(Language))}")
    return Problem(
        id=row["id"],
        source=row["source"],
        language=row["language"],
        question=row["question"],
        answer=row["answer"],
        subject=str(row.get("subject", "")),
        level=str(row.get("level", "")),
        split=str(row.get("split", "")),
    )


BENCHMARK = Benchmark(
    name="demo",
    language=None,
    file="test.jsonl",
    rows=None,
    sha256=None,
    pinned=("question", "answer"),
    origin="test.jsonl as `python -m dataset build demo` writes it",
    read=read,
)
