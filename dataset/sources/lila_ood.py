"""Lila-OOD: English problems of many kinds with Python programs (github.com/allenai/Lila, CC BY 4.0).

One row of `lila/multi/ood/train.json` in lila.zip, JSON Lines:

    {"Input": "A chord is drawn …", "Output Program": ["a = 3\\nprint(a * 2)"], "Output Answer": ["6"],
     "split": "train", "dataset": "NumGLUE_Type_1.json"}

On the Hub (allenai/lila) the fields are called input, output_program, output_answer, and hold one string each.

Several programs are several solutions of one problem; where each has an answer of its own, that is its reference. A
row without a program, or with another split than "train", is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataset.sources.records import Candidate, LeftOut, candidate, text_field
from dataset.types import Problem, Turn
from sandbox.errors import InputError


def _texts(row: Mapping[str, Any], *names: str) -> list[str]:
    value = next((row[name] for name in names if name in row), None)
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise InputError(f"{names[0]!r} is {str(value)[:80]}, expected a list of strings")
    return [str(item) for item in values]


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """A program of thought for each program in the row."""
    answers = _texts(row, "Output Answer", "output_answer")
    programs = _texts(row, "Output Program", "output_program")
    if not answers:
        raise InputError("'Output Answer' is empty")
    if row.get("split", "train") != "train":
        raise LeftOut(f"its split is {row['split']}, not train")
    problem = Problem(
        id=f"lila_ood/{default_id}",
        source="lila_ood",
        language="en",
        question=text_field(row, "Input", "input").strip(),
        answer=answers[0],
        subject=text_field(row, "dataset").removesuffix(".json") if "dataset" in row else "",
        split="train",
    )
    own = answers if len(answers) == len(programs) else answers[:1] * len(programs)
    found = [
        candidate(replace(problem, answer=answer), "pot", (Turn("code", program.strip("\n")),), f"/pot{number}")
        for number, (program, answer) in enumerate(zip(programs, own, strict=True))
        if program.strip()
    ]
    if not found:
        raise LeftOut("no program")
    return found
