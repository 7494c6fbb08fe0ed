"""MathCoder: solutions as notebook cells (github.com/mathllm/MathCoder, Apache 2.0), as ../shared/data holds them.

    {"id": "mathcoder-l-7b/gsm8k/2", "question": "A robe takes …", "reference": "3",
     "segments": [{"role": "code", "content": "blue = 2\\nwhite = blue / 2\\nblue + white"},
                  {"role": "execution", "content": "3.0"},
                  {"role": "text", "content": "The robe takes a total of \\\\(\\\\boxed{3}\\\\) bolts."}],
     "recorded_prediction": "3", "recorded_correct": true}

Trajectories are answers to *test* problems: for verifying and measuring, never for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataset.sources.records import Candidate, candidate, language_of, text_field
from dataset.sources.tora import recorded_correct
from dataset.types import Problem, Turn, TurnKind
from sandbox.errors import InputError

_KINDS: Mapping[str, TurnKind] = {"text": "text", "code": "code", "execution": "output"}


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    segments = row.get("segments")
    if not isinstance(segments, list) or not all(
        isinstance(s, Mapping) and s.get("role") in _KINDS and isinstance(s.get("content"), str) for s in segments
    ):
        raise InputError(f"'segments' is {str(segments)[:80]}, expected objects with role text, code or execution")
    question = text_field(row, "question")
    problem = Problem(
        id=text_field(row, "id") if "id" in row else default_id,
        source="mathcoder",
        language=language_of(question),
        question=question,
        answer=text_field(row, "reference"),
        split="test",
    )
    turns = tuple(Turn(_KINDS[s["role"]], s["content"]) for s in segments)
    return [replace(candidate(problem, None, turns), recorded_correct=recorded_correct(row))]
