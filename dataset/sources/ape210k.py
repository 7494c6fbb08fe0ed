"""Ape210K: 210,488 Chinese word problems with equations (github.com/Chenny0808/ape210k, MIT).

    {"id": "300852", "segmented_text": "…", "original_text": "…还剩下这批帐篷的几分之几没完成？",
     "ans": "(11/20)", "equation": "x=1-(1/5)-(1/4)"}

On the Hub (MU-NLPC/Calc-ape210k) the fields are called question_chinese, result and equation, numbers are written 3_750
and 1_413/25, and ids ape210k__00971711 for 971711. The equation becomes a
program, in fractions where the answer is one, in per cent where the answer is; the program alone is the pot solution,
with words around it the tir one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from dataset.sources.arithmetic import exact, in_fractions, read_expression
from dataset.sources.records import Candidate, candidate, text_field
from dataset.types import Problem, Turn

_UNDERSCORE = re.compile(r"(?<=\d)_(?=\d{3}(?!\d))")  # the Hub's thousands separator
_HUB_ID = re.compile(r"ape210k__0*(\d+)")
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?%?")


def reference_of(answer: str) -> str:
    """The answer in the usual notation: brackets off, "1(1/2)" as "1 1/2", an unfinished calculation finished."""
    answer = _UNDERSCORE.sub("", answer.strip())
    if _PLAIN.fullmatch(answer):
        return answer
    if mixed := re.fullmatch(r"(\d+)\((\d+/\d+)\)", answer):
        return f"{mixed[1]} {mixed[2]}"
    if simple := re.fullmatch(r"\((-?\d+/\d+)\)", answer):
        return simple[1]
    return str(exact(read_expression(answer)))


def program_of_equation(equation: str, answer: str) -> str:
    """A program that prints the right-hand side of "x=…"; a few rows leave "x=" out.

    Raises:
        InputError: it is not arithmetic.
    """
    tree = read_expression(re.sub(r"^\s*x\s*=", "", equation))
    if answer.endswith("%") and _PLAIN.fullmatch(answer):
        return f"x = {ast.unparse(tree)}\nprint(f'{{x * 100:g}}%')"
    if "/" in answer:
        return f"from fractions import Fraction\n\nx = {ast.unparse(in_fractions(tree))}\nprint(x)"
    return f"x = {ast.unparse(tree)}\nprint(x)"


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The equation as a program (pot), and with words around it (tir)."""
    question = text_field(row, "original_text", "question_chinese").strip()
    answer = text_field(row, "ans", "result")
    id_ = text_field(row, "id") if "id" in row else default_id
    if hub := _HUB_ID.fullmatch(id_):
        id_ = hub[1]
    reference = reference_of(answer)
    problem = Problem(
        id=f"ape210k/{id_}", source="ape210k", language="zh", question=question, answer=reference, split="train"
    )
    code = Turn("code", program_of_equation(text_field(row, "equation"), answer))
    turns = (Turn("text", "根据题意列式计算。"), code, Turn("text", f"答案是$\\boxed{{{reference}}}$。"))
    return [candidate(problem, "pot", (code,), "/pot"), candidate(problem, "tir", turns, "/tir")]
