"""TAL-SCQ5K: 5,000 single-choice competition problems of Chinese schools, and 5,000 in English (MIT).

    {"dataset_name": "prime_math_competition_ch_single_choice_3.2K_dev", "qid": "1029", "queId": "6afc3b23…",
     "difficulty": "2", "qtype": "single_choice", "problem": "奶奶告诉小明：``$$2006$$年共有$$53$$个星期日''． …",
     "answer_option_list": [[{"aoVal": "A", "content": "星期一 "}], [{"aoVal": "B", "content": "星期二 "}], …],
     "knowledge_point_routes": ["拓展思维->拓展思维->应用题模块->周期问题->时间中的周期问题->日期中的周期"],
     "answer_analysis": ["$$2006$$年有$$365$$天，… "], "answer_value": "A"}

huggingface.co/datasets/math-eval/TAL-SCQ5K; 3,000 to train and 2,000 to test in each language. The analysis is the
cot candidate, ended by the letter; where there is none ("略", "N/A") or where it chooses another letter than
`answer_value`, the row is left out. The subject of a Chinese problem is its subtopic, found by its routes
(`dataset.topics`); `level` is the difficulty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataset.sources.choices import chosen, conclusion, must_be_among, with_choices
from dataset.sources.records import Candidate, LeftOut, candidate, language_of, text_field
from dataset.topics import topic_of
from dataset.types import Problem, Turn
from sandbox.errors import InputError

_NOTHING = re.compile(r"[\s．.。，,（）()]*(?:略|无|暂无|omitted|n/?a|none|null)?[\s．.。，,（）()]*", re.IGNORECASE)


def _strings(row: Mapping[str, Any], name: str) -> list[str]:
    value = row.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{name!r} is {str(value)[:80]}, expected a list of strings")
    return value


def _choices(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    value = row.get("answer_option_list")
    try:
        return [(choice[0]["aoVal"].strip(), choice[0]["content"].strip()) for choice in value]  # type: ignore[union-attr]
    except (TypeError, KeyError, IndexError, AttributeError):
        raise InputError(
            f"'answer_option_list' is {str(value)[:80]}, expected [[{{'aoVal': 'A', 'content': '…'}}], …]"
        ) from None


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The analysis, ended by the letter."""
    stem, choices = text_field(row, "problem").strip(), _choices(row)
    answer = text_field(row, "answer_value").strip()
    must_be_among(answer, choices, "answer_value")
    analysis = "\n".join(_strings(row, "answer_analysis")).strip()
    question = with_choices(stem, choices)
    language = language_of(stem + analysis)
    if _NOTHING.fullmatch(analysis):
        raise LeftOut("no worked solution (answer_analysis)")
    if (letter := chosen(analysis)) is not None and letter != answer:
        raise LeftOut("its solution chooses another letter than answer_value")
    routes = _strings(row, "knowledge_point_routes")
    problem = Problem(
        id=f"tal_scq5k/{row.get('queId') or default_id}",
        source="tal_scq5k",
        language=language,
        question=question,
        answer=answer,
        subject=topic_of(stem, routes) if language == "zh" else "",
        level=text_field(row, "difficulty") if "difficulty" in row else "",
        split="train" if "train" in str(row.get("dataset_name", "train")) else "",
    )
    turns = (Turn("text", analysis), Turn("text", conclusion(answer, language)))
    return [candidate(problem, "cot", turns, "/cot")]
