"""Math23K: 23,162 Chinese word problems with equations (Wang et al., EMNLP 2017; no licence is stated).

    {
      "id": "1",
      "original_text": "镇海雅乐学校二年级的小朋友到一条小路的一边植树．…",
      "segmented_text": "镇海 雅乐 学校 …",
      "equation": "x=(12+1)*2",
      "ans": "26"
    }

The published `math23k_train.json` is one object after another without commas; an array or JSON Lines are read as
well. The form of the equation is Ape210K's; fractions in answers are also written "19((3)/(4))".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.ape210k import equation_candidates, reference_of
from dataset.sources.records import Candidate, text_field


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The equation as a program (pot), and with words around it (tir)."""
    id_ = text_field(row, "id") if "id" in row else default_id
    question = text_field(row, "original_text").strip()
    answer = reference_of(text_field(row, "ans"))
    return equation_candidates("math23k", id_, question, answer, text_field(row, "equation"))
