"""Ape210K: 210,488 Chinese word problems with equations (github.com/Chenny0808/ape210k, MIT).

    {"id": "300852", "segmented_text": "…", "original_text": "…还剩下这批帐篷的几分之几没完成？",
     "ans": "(11/20)", "equation": "x=1-(1/5)-(1/4)"}

On the Hub (MU-NLPC/Calc-ape210k) the fields are called question_chinese, result and equation, numbers are written
3_750 and 1_413/25, and ids ape210k__00971711 for 971711. All results are fractions there: what 1_413/25 was is told
by the question and the equation (`as_written`).

The equation becomes a program that prints the answer as it is written: 45 and 78.5, not 45.0 and 78.49999999999999;
in fractions where the answer is one, in per cent where the answer is. The program alone is the pot solution, with
words around it the tir one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from dataset.sources.arithmetic import exact, printing_program, read_expression
from dataset.sources.records import Candidate, candidate, text_field
from dataset.types import Problem, Turn
from sandbox.errors import InputError

_UNDERSCORE = re.compile(r"(?<=\d)_(?=\d{3}(?!\d))")  # the Hub's thousands separator
_HUB_ID = re.compile(r"ape210k__0*(\d+)")
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?%?")
_BRACKETED = re.compile(r"\((\d+)\)/\((\d+)\)")  # Math23K: ((3)/(4))
_BY_ZERO = re.compile(r"/\s*\(?0+(?![\d.])")
_LONGEST_FRACTION = 40  # characters; floats hold less
_IN_PER_CENT = re.compile(r"百分之几|百分之多少|百分数|百分率|百分比|\*100%$")
_IN_FRACTIONS = re.compile(r"几分之几|分数|\(\d+/\d+\)|\(\(\(\)\)/\(\(\)\)\)")
_IN_DECIMALS = re.compile(r"\d\.\d|%")


def reference_of(answer: str) -> str:
    """The answer in the usual notation: brackets off, "1(1/2)" as "1 1/2", an unfinished calculation finished.

    Raises:
        InputError: it is not arithmetic, or divides by zero.
    """
    answer = _BRACKETED.sub(r"\1/\2", _UNDERSCORE.sub("", answer.strip()))
    if _BY_ZERO.search(answer):
        raise InputError(f"the answer {answer!r} cannot be computed: it divides by zero")
    if _PLAIN.fullmatch(answer):
        return answer
    if mixed := re.fullmatch(r"(\d+)\(+(\d+/\d+)\)+", answer):
        return f"{mixed[1]} {mixed[2]}"
    if simple := re.fullmatch(r"\(+(-?\d+/\d+)\)+", answer):
        return simple[1]
    return str(exact(read_expression(answer)))


def as_written(reference: str, question: str, equation: str) -> str:
    """A result of the Hub's, where all are fractions, as the question and its equation would have it.

    In per cent where that is asked for; as a decimal that ends where there are decimals and no fractions, and above 1.
    """
    if not re.fullmatch(r"-?\d+(/\d+)?", reference) or len(reference) > _LONGEST_FRACTION:
        return reference
    value = Fraction(reference)
    hundredfold = f"{float(value * 100):.12g}"
    if (_IN_PER_CENT.search(question) or _IN_PER_CENT.search(equation)) and Fraction(hundredfold) == value * 100:
        return hundredfold + "%"
    decimal = f"{float(value):.12g}"
    if Fraction(decimal) != value or _IN_FRACTIONS.search(question + equation):
        return reference
    return decimal if value > 1 or _IN_DECIMALS.search(question + equation) else reference


def program_of_equation(equation: str, answer: str) -> str:
    """A program that prints the right-hand side of "x=…" as `answer` is written; a few rows leave "x=" out.

    Raises:
        InputError: it is not arithmetic.
    """
    tree = read_expression(re.sub(r"^\s*x\s*=", "", equation))
    if answer.endswith("%"):
        return f"x = {ast.unparse(tree)}\nprint(f'{{x * 100:.12g}}%')"
    return printing_program(tree, answer)


def equation_candidates(source: str, id_: str, question: str, answer: str, equation: str) -> list[Candidate]:
    """The two candidates of a problem with an equation: the program (pot), and with words around it (tir)."""
    problem = Problem(
        id=f"{source}/{id_}", source=source, language="zh", question=question, answer=answer, split="train"
    )
    code = Turn("code", program_of_equation(equation, answer))
    turns = (Turn("text", "根据题意列式计算。"), code, Turn("text", f"答案是$\\boxed{{{answer}}}$。"))
    return [candidate(problem, "pot", (code,), "/pot"), candidate(problem, "tir", turns, "/tir")]


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The equation as a program (pot), and with words around it (tir)."""
    question = text_field(row, "original_text", "question_chinese").strip()
    reference = reference_of(text_field(row, "ans", "result"))
    id_ = text_field(row, "id") if "id" in row else default_id
    if hub := _HUB_ID.fullmatch(id_):
        id_ = hub[1]
    equation = text_field(row, "equation")
    if "original_text" in row or (written := as_written(reference, question, equation)) == reference:
        return equation_candidates("ape210k", id_, question, reference, equation)
    found = equation_candidates("ape210k", id_, question, written, equation)
    return [one.changed_by(f"the Hub's {reference} written as the question asks") for one in found]
