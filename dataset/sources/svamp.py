"""SVAMP: 1,000 one-step problems that were varied to defeat word patterns (github.com/arkilpatel/SVAMP, MIT).

    {"ID": "chal-1", "Body": "Each pack of dvds costs 76 dollars. If there is a discount …",
     "Question": "How much do you have to pay to buy each pack?", "Equation": "( 76.0 - 25.0 )", "Answer": 51.0,
     "Type": "Subtraction"}

The equation is the program of the pot candidate. All of SVAMP is a benchmark here, so `mix` refuses it unless it is
told to check nothing; as a source it serves programs to be verified and to be measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.arithmetic import printing_program, read_expression
from dataset.sources.records import Candidate, candidate, text_field
from dataset.types import Problem, Turn


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The equation as a program."""
    body, answer = text_field(row, "Body").strip(), text_field(row, "Answer").removesuffix(".0")
    between = " " if body.endswith((".", "?", "!", ",")) else ". "
    problem = Problem(
        id=f"svamp/{row.get('ID', default_id)}",
        source="svamp",
        language="en",
        question=f"{body}{between}{text_field(row, 'Question').strip()}",
        answer=answer,
        subject=text_field(row, "Type") if "Type" in row else "",
        split="test",
    )
    program = printing_program(read_expression(text_field(row, "Equation")), answer)
    return [candidate(problem, "pot", (Turn("code", program),), "/pot")]
