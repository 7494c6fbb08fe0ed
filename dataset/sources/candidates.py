"""Candidates: soroban's own rows between the stages, as `build` writes them and `verify` keeps them.

{"id": "demo/train/00001/pot", "style": "pot",
 "problem": {"id": "demo/train/00001", "source": "demo", "language": "en", "question": "A wall has …",
             "answer": "9263587", "subject": "bricks", "level": "3", "split": "train"},
 "turns": [["code", "x=238*973\\ny=x*40\\nprint(y+627)"]]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.records import Candidate
from dataset.types import solution_from_json


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row; `default_id` is not needed."""
    return [Candidate(solution_from_json(row))]
