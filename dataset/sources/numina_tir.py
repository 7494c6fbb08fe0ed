"""NuminaMath-TIR: 72,441 competition problems with tool-integrated solutions by GPT-4.

    {"problem": "What is the coefficient of $x^2y^6$ in …?", "solution": "To find …\\n\\n```python\\n…
     \\n```\\n```output\\n630/3125\\n```\\nThe coefficient is $\\\\boxed{\\\\frac{63}{400}}$.",
     "messages": [{"content": "What is …", "role": "user"}, {"content": "To find …", "role": "assistant"}]}

huggingface.co/datasets/AI-MO/NuminaMath-TIR, Apache 2.0. There is no field for the answer: the solution's own last
words are its reference, so that of it only is checked that there is an answer and that the programs print what is
recorded. `build … --answers problems.jsonl` (MATH's, say) gives the questions in that file their own. `messages`
repeats the other two columns; copies that keep `messages` alone load as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.chat import last_exchange
from dataset.sources.records import Candidate, own_reference, text_field


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    if "solution" in row:
        question, solution = text_field(row, "problem"), text_field(row, "solution")
    else:
        question, solution = last_exchange(row)
    return [own_reference("numina_tir", default_id, question, solution)]
