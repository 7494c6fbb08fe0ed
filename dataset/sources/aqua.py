"""AQuA: 97,467 algebra problems with five choices and a rationale (github.com/google-deepmind/AQuA, Apache 2.0).

    {"question": "Three birds are flying at a fast rate of 900 kilometers per hour. What is …?",
     "options": ["A)32400", "B)6000", "C)600", "D)60000", "E)10"],
     "rationale": "To calculate the equivalent of miles …\\nCorrect answer - A", "correct": "A"}

The rationale is the cot candidate, ended by the letter. A row whose rationale names another letter than `correct`, or
is nothing but a letter, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.choices import chosen, conclusion, lettered, must_be_among, with_choices
from dataset.sources.records import Candidate, LeftOut, candidate, text_field
from dataset.types import Problem, Turn
from sandbox.errors import InputError

_SHORTEST_RATIONALE = 10  # characters: "ANSWER:A" explains nothing


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The rationale, ended by the letter."""
    options = row.get("options")
    if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
        raise InputError(f"'options' is {str(options)[:80]}, expected a list such as ['A)32400', 'B)6000']")
    choices = lettered(options)
    question, rationale = text_field(row, "question"), text_field(row, "rationale").strip()
    answer = text_field(row, "correct").strip().upper()
    must_be_among(answer, choices, "correct")
    if len(rationale) < _SHORTEST_RATIONALE:
        raise LeftOut("its rationale is a letter and no solution")
    if (letter := chosen(rationale)) is not None and letter != answer:
        raise LeftOut("its rationale chooses another letter than correct")
    problem = Problem(
        id=f"aqua/{default_id}",
        source="aqua",
        language="en",
        question=with_choices(question, choices),
        answer=answer,
        subject="algebra",
        split="train",
    )
    turns = (Turn("text", rationale), Turn("text", conclusion(answer, "en")))
    return [candidate(problem, "cot", turns, "/cot")]
