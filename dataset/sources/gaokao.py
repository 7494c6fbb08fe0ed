"""GAOKAO-Bench: problems of the Chinese college entrance examination, 2010 to 2022, with worked solutions (Apache 2.0).

The file is one object, {"keywords": "2010-2022_Math_II_MCQs", "example": [row, …]}, with rows such as

    {"year": "2010", "category": "（新课标）", "question": "1. （5 分) 已知集合 … 则 $A …$\\nA. …",
     "standard_answer": ["D"], "analysis": "解: $\\\\because A=…\\n\\n故选: D.\\n", "index": 0, "score": 5}

github.com/OpenLMLab/GAOKAO-Bench, Data/Objective_Questions. Blanks to fill in have `answer`, a string. The number of
the question and its points ("1. （5 分)") are cut off. The subject is the subtopic that `dataset.topics` finds. It is
an exam: do not train on it and then report it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataset.sources.choices import chosen, conclusion
from dataset.sources.records import Candidate, LeftOut, candidate, text_field
from dataset.topics import topic_of
from dataset.types import Problem, Turn
from sandbox.errors import InputError

_NUMBER = re.compile(r"^\s*\d{1,2}\s*[.．、]?\s*(?:[(（]\s*\d+\s*分\s*[)）])?\s*")


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The analysis; ended by the letter where the problem is one of choices."""
    answers = row.get("standard_answer", row.get("answer"))
    answers = [answers] if isinstance(answers, str) else answers
    if not isinstance(answers, list) or not answers or not all(isinstance(item, str) for item in answers):
        raise InputError(f"'standard_answer' is {str(answers)[:80]}, expected a list of strings, or 'answer', a string")
    answer, analysis = answers[0].strip(), text_field(row, "analysis").strip()
    text = text_field(row, "question")
    question = _NUMBER.sub("", text).strip()
    is_choice = re.fullmatch("[A-H]", answer) is not None
    if not analysis:
        raise LeftOut("no worked solution (analysis)")
    if is_choice and (letter := chosen(analysis)) is not None and letter != answer:
        raise LeftOut("its solution chooses another letter than standard_answer")
    problem = Problem(
        id=f"gaokao/{default_id}",
        source="gaokao",
        language="zh",
        question=question,
        answer=answer,
        subject=topic_of(question),
        level=text_field(row, "year") if "year" in row else "",
        split="test",
    )
    turns = (Turn("text", analysis), Turn("text", conclusion(answer, "zh")))
    found = candidate(problem, "cot", turns, "/cot")
    return [found.changed_by("the question's number and points cut off")] if question != text.strip() else [found]
