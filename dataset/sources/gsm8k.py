"""GSM8K: 7,473 English word problems for training (github.com/openai/grade-school-math, MIT).

    {"question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many in May. …",
     "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips.\\nNatalia sold 48+24 = <<48+24=72>>72 clips …\\n#### 72"}

Each row gives its own words (cot) and, where it has calculator marks, the program that the marks spell out: a step a
mark, a number that an earlier step computed replaced by that step's name. The program alone is the pot solution; words,
program and answer the tir one. They are candidates like any other: marks that do not lead to the answer are found out
by running them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from dataset.sources.arithmetic import Number, computed, exact, linked, printed_as, read_expression
from dataset.sources.records import Candidate, candidate, text_field
from dataset.types import Problem, Turn
from sandbox.errors import InputError

_MARK = re.compile(r"<<([^<>=]*)=([^<>]*)>>")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
_LONGEST_NUMBER = 100  # characters; Python refuses to read more than 4,300 digits


def split_answer(row: Mapping[str, Any]) -> tuple[str, str]:
    """The worked solution, marks and all, and the final answer behind "####".

    Raises:
        InputError: there is no "####".
    """
    worked, mark, final = text_field(row, "answer").rpartition("####")
    if not mark or not final.strip():
        raise InputError("'answer' has no final answer: expected '#### 42' at its end")
    return worked.strip(), final.strip()


def program_of_marks(worked: str, question: str, final: str) -> str | None:
    """The program that the marks in `worked` spell out; None without marks, or where one is not arithmetic."""
    given = {Fraction(number.replace(",", "")) for number in _NUMBER.findall(question) if len(number) < _LONGEST_NUMBER}
    names: dict[Fraction, str] = {}
    values: dict[str, Number] = {}
    lines: list[str] = []
    printed = ""
    try:
        answer = exact(read_expression(final.lstrip("$")))
        for number, (expression, result) in enumerate(_MARK.findall(worked), 1):
            tree, value = read_expression(expression), exact(read_expression(result))
            step = linked(tree, names)
            lines.append(f"step{number} = {ast.unparse(step)}")
            values[f"step{number}"] = computed(step, values)
            if value not in given:  # a number of the question's own more likely means just that
                names[value] = f"step{number}"
            if value == answer:
                printed = f"step{number}"
    except InputError:
        return None
    if not lines:
        return None
    last = printed or f"step{len(lines)}"
    # As the answer is written: 4, where division gives 4.0, and 0.3 without the noise of floats.
    return "\n".join([*lines, printed_as(values[last], last, str(answer)) or f"print({last})"])


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The solution in words and, where the marks allow it, as a program and in both."""
    worked, final = split_answer(row)
    question = text_field(row, "question").strip()
    problem = Problem(
        id=f"gsm8k/{default_id}", source="gsm8k", language="en", question=question, answer=final, split="train"
    )
    plain = re.sub(r"<<[^<>]*>>", "", worked)
    conclusion = f"The answer is $\\boxed{{{final}}}$."
    found = [candidate(problem, "cot", (Turn("text", plain), Turn("text", conclusion)), "/cot")]
    program = program_of_marks(worked, question, final)
    if program is not None:
        code = Turn("code", program)
        found.append(candidate(problem, "pot", (code,), "/pot"))
        found.append(candidate(problem, "tir", (Turn("text", plain), code, Turn("text", conclusion)), "/tir"))
    return found
