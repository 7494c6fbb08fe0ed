"""Chinese K-12 problems over subtopics, in words (cot) or with tools (tir): a schema for your own and for a teacher's.

DeepSeekMath's training set has them (arXiv 2402.03300, section 3.1); only the number of subtopics, 76, and one of
them, linear equations, are published. Rows of your own, or made by a teacher (`evaluator sample`), load from JSON
Lines of this form:

    {"id": "k12-000017", "question": "解方程：3x + 5 = 20", "answer": "5", "topic": "一元一次方程", "grade": "7",
     "style": "cot", "solution": "移项得3x = 15，所以x = 5。答案是$\\\\boxed{5}$。"}

`topic` is one of those in `dataset/topics_zh.toml`, by its Chinese or English name, or "unknown"; `grade` may be left
out. Without `topic` it is found as `dataset.topics` says, by `routes` where the row has them, else by keywords.
`python -m dataset build k12_zh` reports how many problems each subtopic has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.records import Candidate, candidate, text_field
from dataset.topics import TOPICS_FILE, UNKNOWN, topic_of, topics
from dataset.types import Problem
from sandbox.errors import InputError


def topic_named(name: str) -> str:
    """The Chinese name of the subtopic of that Chinese or English name; `UNKNOWN` is one.

    Raises:
        InputError: there is no such subtopic.
    """
    if name in topics().values() or name == UNKNOWN:
        return name
    if name in topics():
        return topics()[name]
    raise InputError(
        f"unknown topic {name!r}: expected one of the {len(topics())} names in {TOPICS_FILE.name}, or {UNKNOWN!r}, "
        "or no field topic: then it is found by keywords"
    )


def _topic(row: Mapping[str, Any], question: str) -> str:
    if row.get("topic") is not None:
        return topic_named(text_field(row, "topic"))
    routes = row.get("routes", [])
    if not isinstance(routes, list) or not all(isinstance(route, str) for route in routes):
        raise InputError(f"'routes' is {str(routes)[:80]}, expected a list of strings")
    return topic_of(question, routes)


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    style = text_field(row, "style")
    if style not in ("cot", "tir"):
        raise InputError(f"'style' is {style!r}, expected cot or tir")
    question = text_field(row, "question").strip()
    problem = Problem(
        id=text_field(row, "id"),
        source="k12_zh",
        language="zh",
        question=question,
        answer=text_field(row, "answer"),
        subject=_topic(row, question),
        level=text_field(row, "grade") if "grade" in row else "",
        split="train",
    )
    return [candidate(problem, "cot" if style == "cot" else "tir", text_field(row, "solution"), f"/{style}")]
