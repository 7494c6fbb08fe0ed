"""CMATH, the 1,098 test problems of Chinese primary schools, grades 1 to 6 (arXiv 2306.16636).

{"grade": 1, "question": "妈咪买了3盒茶叶，一盒茶叶有6小包，一共买了多少小包茶叶？", "golden": "18",
 "reasoning_step": 1, "num_digits": 2}

There are two disjoint sets under this name. The published figures are on these 1,098; the 600-row file of the XiaoMi
repository, with the question under "input", is the dev split and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import published
from sandbox.errors import InputError


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`: `level` is the grade, `subject` the number of reasoning steps."""
    if "input" in row:
        raise InputError("the question stands under 'input': this is the 600-row dev split, not the test split")
    return Problem(
        id=f"cmath/{index}",
        source="cmath",
        language="zh",
        question=row["question"],
        answer=str(row["golden"]).strip(),
        subject=f"{row['reasoning_step']} steps",
        level=f"grade {row['grade']}",
        split="test",
    )


BENCHMARK = published(
    "cmath",
    language="zh",
    origin="the test split that github.com/deepseek-ai/DeepSeek-Math publishes in evaluation/datasets/cmath",
    read=read,
)
