"""Chinese K-12 problems over 76 subtopics, in words (cot) or with tools (tir): a schema, for they are not public.

DeepSeekMath's training set has them (arXiv 2402.03300, section 3.1); only the number of subtopics and one of them,
linear equations, are published. Rows of your own, or made by a teacher, load from JSON Lines of this form:

    {"id": "k12-000017", "question": "解方程：3x + 5 = 20", "answer": "5", "topic": "一元一次方程", "grade": "7",
     "style": "cot", "solution": "移项得3x = 15，所以x = 5。答案是$\\\\boxed{5}$。"}

`topic` is one of the 76 in `dataset/topics_zh.toml`, by its Chinese or English name; `grade` may be left out. An
unknown topic is an error. `python -m dataset build k12_zh` reports how many of the 76 have problems, and which have
none.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dataset.sources.records import Candidate, candidate, text_field
from dataset.types import Problem
from sandbox.errors import InputError

TOPICS_FILE = Path(__file__).parent.parent / "topics_zh.toml"


@cache
def topics() -> Mapping[str, str]:
    """The subtopics: English name to Chinese name."""
    found = tomllib.loads(TOPICS_FILE.read_text(encoding="utf-8"))
    return {english: chinese for area in found.values() for english, chinese in area.items()}


def topic_named(name: str) -> str:
    """The Chinese name of the subtopic of that Chinese or English name.

    Raises:
        InputError: it is not one of the 76.
    """
    if name in topics().values():
        return name
    if name in topics():
        return topics()[name]
    raise InputError(f"unknown topic {name!r}: expected one of the {len(topics())} names in {TOPICS_FILE.name}")


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    style = text_field(row, "style")
    if style not in ("cot", "tir"):
        raise InputError(f"'style' is {style!r}, expected cot or tir")
    problem = Problem(
        id=text_field(row, "id"),
        source="k12_zh",
        language="zh",
        question=text_field(row, "question").strip(),
        answer=text_field(row, "answer"),
        subject=topic_named(text_field(row, "topic")),
        level=text_field(row, "grade") if "grade" in row else "",
        split="train",
    )
    return [candidate(problem, "cot" if style == "cot" else "tir", text_field(row, "solution"), f"/{style}")]
