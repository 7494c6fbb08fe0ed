"""MathInstruct: 262,039 solutions in words or as programs (huggingface.co/datasets/TIGER-Lab/MathInstruct, MIT).

    {"source": "data/CoT/gsm_train.json", "instruction": "Weng earns $12 an hour for babysitting. …",
     "output": "Weng earns 12/60 = $0.2 per minute. … The answer is 10"}
    {"source": "data/PoT/gsm_gpt4.json", "instruction": "… How much did she earn? Let's write a Python program.",
     "output": "hourly_rate = 12\\nminutes = 50\\nprint(hourly_rate / 60 * minutes)"}

DeepSeekMath used "a subset" without saying which. Ours: everything but TheoremQA (a benchmark) and number_comparison
(one question, generated). The folder in `source` tells words (CoT) from programs (PoT). There is no field for the
answer: a solution in words is its own reference, so that of it only the presence of an answer is checked; a program
takes the reference of the solution in words of the same question, or of `build … --answers`, and is dropped
without one. MathQA's and NumGLUE's programs have no solution in words of the same question: for these give
`--answers` the problems.jsonl of `build mathqa` and of `build lila_ood`, which has NumGLUE's questions. The request
behind the question of a program ("Let's write a Python program.") is cut off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataset.answers import extract
from dataset.sources.records import Candidate, LeftOut, candidate, text_field
from dataset.types import Problem, Turn
from sandbox.errors import InputError

_LEFT_OUT = ("TheoremQA", "number_comparison")
_SOURCE = re.compile(r"data/(CoT|PoT)/(\w+)\.json")
# The request that ends a PoT question. It begins at its own verb: the question before it need not end in . or ?
_REQUEST = re.compile(
    r"\s*\b(?:let['’]?s|please|write)\b"
    r"(?:(?!\b(?:let['’]?s|please)\b)[^.?!\n])*\b(?:python|program|code)\b[^.?!\n]*[.!]?\s*$",
    re.IGNORECASE,
)


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row; none for the sources that are left out."""
    source = _SOURCE.fullmatch(text_field(row, "source"))
    if source is None:
        raise InputError(f"'source' is {row['source']!r}, expected data/CoT/….json or data/PoT/….json")
    form, subject = source.groups()
    if subject in _LEFT_OUT:
        raise LeftOut(f"{subject} is not part of our subset")
    question, output = text_field(row, "instruction").strip(), text_field(row, "output")
    if form == "PoT":
        question = _REQUEST.sub("", question) or question
    problem = Problem(
        id=f"mathinstruct/{default_id}",
        source="mathinstruct",
        language="en",
        question=question,
        answer=None,
        subject=subject,
        split="train",
    )
    if form == "PoT":
        found = candidate(problem, "pot", (Turn("code", output.strip("\n")),), "/pot")
        cut = question != text_field(row, "instruction").strip()
        return [found.changed_by("the request for a program cut off the question") if cut else found]
    return [candidate(replace(problem, answer=extract(output, problem)), "cot", (Turn("text", output),), "/cot")]
