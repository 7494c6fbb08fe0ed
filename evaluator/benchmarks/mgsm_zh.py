"""MGSM-zh, 250 problems of GSM8K's test set translated into Chinese by people (arXiv 2210.03057).

{"question": "制作一件袍子需要 2 匹蓝色纤维布料和这个数量一半的白色纤维布料。它一共需要用掉多少匹布料？", "answer": "3"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.types import Problem
from evaluator.benchmarks.types import published


def read(row: Mapping[str, Any], index: int) -> Problem:
    """The problem in `row`, its answer without thousands separators."""
    return Problem(
        id=f"mgsm_zh/{index}",
        source="mgsm_zh",
        language="zh",
        question=row["question"],
        answer=str(row["answer"]).strip().replace(",", ""),
        split="test",
    )


BENCHMARK = published(
    "mgsm_zh",
    language="zh",
    origin="mgsm_zh of github.com/google-research/url-nlp as JSON Lines with question and answer",
    read=read,
)
