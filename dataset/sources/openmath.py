"""OpenMathInstruct-1: tool-integrated solutions of GSM8K's and MATH's training problems by Mixtral 8x7B.

    {"question": "Kelly has 5 quarters and 2 dimes. …", "expected_answer": "105", "predicted_answer": "105",
     "error_message": "", "is_correct": true, "generation_type": "masked_reference_solution", "dataset": "gsm8k",
     "generated_solution": "Let's …\\n<llm-code>\\n5*25 - 2*10\\n</llm-code>\\n<llm-code-output>\\n105\\n
     </llm-code-output>\\nHe has \\\\boxed{105} cents."}

huggingface.co/datasets/nvidia/OpenMathInstruct-1, arXiv 2402.10176; 1.8M correct solutions. Its "validation" split is a
part of the training problems, too. Rows whose `is_correct` is false are left out. A solution without a program is a cot
candidate. `subject` is the data set that the problem is from: gsm8k or math.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.records import Candidate, LeftOut, candidate, text_field
from dataset.types import Problem


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    problem = Problem(
        id=f"openmath/{default_id}",
        source="openmath",
        language="en",
        question=text_field(row, "question").strip(),
        answer=text_field(row, "expected_answer").strip(),
        subject=text_field(row, "dataset") if "dataset" in row else "",
        split="train",
    )
    solution = text_field(row, "generated_solution")
    if row.get("is_correct") is False:
        raise LeftOut("its publisher calls it wrong (is_correct)")
    return [candidate(problem, None, solution)]
