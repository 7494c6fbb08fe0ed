"""ToRA: tool-integrated solutions with their programs' outputs (github.com/microsoft/ToRA, MIT).

Two shapes. Training examples (data/tora/examples.jsonl there):

    {"dataset": "tora-corpus-math", "level": "Level 5", "id": "math-train-1149-0", "gt": "2", "gt_cot": "Evaluating …",
     "messages": [{"role": "user", "content": "Find $…$."},
                  {"role": "assistant", "content": "```python\\n…\\n```\\n```output\\n2\\n```\\nThe answer is …"}]}

(programs between `<llm-code>` tags are read as well; without `gt` the reference is what `gt_cot` says last), and
trajectories, one JSON object a line (ToRA's and Rho-Math's published outputs):

    {"id": "tora-code-34b/gsm8k/1", "question": "A robe takes …", "reference": "3",
     "solution": "```python\\n…\\n```\\n```output\\n3.0\\n```\\nA robe takes $\\\\boxed{3}$ bolts.",
     "recorded_prediction": "3", "recorded_correct": true}

Trajectories are answers to *test* problems: for verifying and measuring, never for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataset.answers import extract
from dataset.sources.chat import last_exchange
from dataset.sources.records import Candidate, candidate, language_of, level_of, text_field, trajectory
from dataset.types import Problem


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    if "messages" not in row:
        return [trajectory(row, default_id, "tora", text_field(row, "solution"))]
    question, text = last_exchange(row)
    problem = Problem(
        id=text_field(row, "id") if "id" in row else default_id,
        source="tora",
        language=language_of(question),
        question=question,
        answer=None,
        subject=text_field(row, "type") if "type" in row else "",
        level=level_of(row),
        split="train",
    )
    if "gt" in row or not row.get("gt_cot"):
        problem = replace(problem, answer=text_field(row, "gt"))
    else:
        problem = replace(problem, answer=extract(text_field(row, "gt_cot"), problem))
    return [candidate(problem, None, text)]
