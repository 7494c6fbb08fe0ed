"""MathCoder: solutions as notebook cells (github.com/mathllm/MathCoder, Apache 2.0).

    {"id": "mathcoder-l-7b/gsm8k/2", "question": "A robe takes …", "reference": "3",
     "segments": [{"role": "code", "content": "blue = 2\\nwhite = blue / 2\\nblue + white"},
                  {"role": "execution", "content": "3.0"},
                  {"role": "text", "content": "The robe takes a total of \\\\(\\\\boxed{3}\\\\) bolts."}],
     "recorded_prediction": "3", "recorded_correct": true}

An execution that printed nothing is recorded as "<empty_execution>", which becomes an empty output.

Trajectories are answers to *test* problems: for verifying and measuring, never for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.records import Candidate, trajectory
from dataset.types import Turn, TurnKind
from sandbox.errors import InputError

_KINDS: Mapping[str, TurnKind] = {"text": "text", "code": "code", "execution": "output"}
NOTHING = "<empty_execution>"


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    segments = row.get("segments")
    if not isinstance(segments, list) or not all(
        isinstance(s, Mapping) and s.get("role") in tuple(_KINDS) and isinstance(s.get("content"), str)
        for s in segments
    ):
        raise InputError(f"'segments' is {str(segments)[:80]}, expected objects with role text, code or execution")
    turns = tuple(Turn(_KINDS[s["role"]], "" if s["content"] == NOTHING else s["content"]) for s in segments)
    return [trajectory(row, default_id, "mathcoder", turns)]
