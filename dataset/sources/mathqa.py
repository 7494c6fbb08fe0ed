"""MathQA: 37,297 of AQuA's problems, with a formula for each (math-qa.github.io, Apache 2.0).

    {"Problem": "the banker ' s gain of a certain sum due 3 years hence at 10 % per annum is rs . 36 . what is …?",
     "Rationale": "\\"explanation : t = 3 years … answer : option a\\"",
     "options": "a ) rs . 400 , b ) rs . 300 , c ) rs . 500 , d ) rs . 350 , e ) none of these", "correct": "a",
     "annotated_formula": "divide(multiply(const_100, divide(multiply(36, const_100), multiply(3, 10))), …)",
     "linear_formula": "multiply(n2,const_100)|multiply(n0,n1)|…", "category": "gain"}

A JSON array as published; copies in JSON Lines with problem, rationale and type are read as well. The rationale,
ended by the letter, is the cot candidate; the formula the program of the pot candidate, whose question has no choices
and whose reference is what stands behind the letter: many formulas do not lead to it, and verification drops them. A
formula with an operation that is not in the table below gives no program.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataset.sources.choices import chosen, conclusion, must_be_among, with_choices, without_choices
from dataset.sources.records import Candidate, LeftOut, candidate, text_field
from dataset.types import Problem, Turn
from sandbox.errors import InputError

_OPTION = re.compile(r"(?:^\[?|,)\s*['\"]?\s*([a-e])\s*\)\s*")  # a few rows are Python lists, as text
_RUPEES = re.compile(r"(?<=\) )s [.:] (?=\d)")  # "rs ." has lost its r in some rows
_AGAIN = re.compile(r"^[a-e]\s*\)\s*")  # "a ) a ) 8"
# What each operation is in Python; {0} and {1} are its operands.
_OPERATIONS = {
    "add": "({0} + {1})", "subtract": "({0} - {1})", "multiply": "({0} * {1})", "divide": "({0} / {1})",
    "power": "({0} ** {1})", "sqrt": "math.sqrt({0})", "negate": "(-{0})", "inverse": "(1 / {0})",
    "floor": "math.floor({0})", "max": "max({0}, {1})", "min": "min({0}, {1})", "reminder": "({0} % {1})",
    "log": "math.log({0})", "factorial": "math.factorial({0})", "choose": "math.comb({0}, {1})",
    "permutation": "math.perm({0}, {1})", "gcd": "math.gcd({0}, {1})", "lcm": "math.lcm({0}, {1})",
    "speed": "({0} / {1})", "circle_area": "(math.pi * {0} ** 2)", "circumface": "(2 * math.pi * {0})",
    "square_area": "({0} ** 2)", "square_perimeter": "(4 * {0})", "rectangle_area": "({0} * {1})",
    "rectangle_perimeter": "(2 * ({0} + {1}))", "triangle_area": "({0} * {1} / 2)", "volume_cube": "({0} ** 3)",
    "surface_cube": "(6 * {0} ** 2)", "volume_cylinder": "(math.pi * {0} ** 2 * {1})",
}  # fmt: skip
_INTEGERS = ("factorial", "choose", "permutation", "gcd", "lcm")


def choices_of(options: str) -> list[tuple[str, str]]:
    """The letters and texts in "a ) rs . 400 , b ) rs . 300".

    Raises:
        InputError: there are none.
    """
    parts = _OPTION.split(options)
    found = [
        (letter.upper(), _AGAIN.sub("", text.strip(" ,'\"[]")))
        for letter, text in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if not found:
        raise InputError(f"'options' is {options[:80]!r}, expected 'a ) 12 , b ) 16'")
    return found


def program_of_formula(formula: str) -> str | None:
    """The Python program that computes `annotated_formula` and prints it; None if it cannot be written down."""
    try:
        tree = ast.parse(formula.strip(), mode="eval").body
        text = ast.unparse(ast.parse(_python(tree), mode="eval"))
    except (InputError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return ("import math\n\n" if "math." in text else "") + f"answer = {text}\nprint(answer)"


def _python(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=int() | float()):
            return repr(node.value)
        case ast.UnaryOp(op=ast.USub()):
            return f"(-{_python(node.operand)})"
        case ast.Name(id="const_pi"):
            return "math.pi"
        case ast.Name(id=name) if re.fullmatch(r"const_\d+(_\d+)?", name):
            return name.removeprefix("const_").replace("_", ".").lstrip("0") or "0"
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _OPERATIONS:
            wanted = 2 if "{1}" in _OPERATIONS[name] else 1
            if len(arguments) == wanted:
                operands = [_python(argument) for argument in arguments]
                return _OPERATIONS[name].format(*(f"int({x})" if name in _INTEGERS else x for x in operands))
    raise InputError(f"not an operation that is known: {ast.unparse(node)[:80]}")


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The rationale, ended by the letter, and the formula as a program."""
    stem = text_field(row, "Problem", "problem").strip()
    options = text_field(row, "options")
    mended = _RUPEES.sub("rs . ", options)
    choices = choices_of(mended)
    answer = text_field(row, "correct").strip().upper()
    must_be_among(answer, choices, "correct")
    rationale = text_field(row, "Rationale", "rationale").strip().strip('"').strip()
    problem = Problem(
        id=f"mathqa/{default_id}",
        source="mathqa",
        language="en",
        question=with_choices(stem, choices),
        answer=answer,
        subject=text_field(row, "category", "type") if row.keys() & {"category", "type"} else "",
        split="train",
    )
    found = []
    letter = chosen(rationale)
    if rationale and letter in (None, answer):
        turns = (Turn("text", rationale), Turn("text", conclusion(answer, "en")))
        found.append(candidate(problem, "cot", turns, "/cot"))
    program = program_of_formula(text_field(row, "annotated_formula")) if row.get("annotated_formula") else None
    alone = without_choices(problem.question, answer)
    if program is not None and alone is not None:
        asked = replace(problem, question=alone[0], answer=alone[1])
        found.append(candidate(asked, "pot", (Turn("code", program),), "/pot"))
    if not found:
        raise LeftOut("its rationale chooses another letter than correct, and its formula gives no program")
    return found if mended == options else [one.changed_by("rupees without their r in the choices") for one in found]
