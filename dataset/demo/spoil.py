"""Solutions spoiled on purpose, in known ways: what verification must find, all of it and nothing else.

Every spoiled solution is wrong by construction: a wrong operand must change the result, a wrong answer is another
number, a wrong output is not what the program prints.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

from dataset.demo.problems import DemoProblem, program, tool_turns, value_of, words
from dataset.types import Solution, Style, Turn

Kind = Literal["wrong_operand", "wrong_answer", "raises", "endless_loop", "wrong_output"]

KINDS: dict[Style, tuple[Kind, ...]] = {
    "cot": ("wrong_operand", "wrong_answer"),
    "pot": ("wrong_operand", "wrong_answer", "raises", "endless_loop"),
    "tir": get_args(Kind),
}
# An endless loop costs its whole time limit: this many in all keep the demo's verification short.
MOST_ENDLESS_LOOPS = 12


def choose(ids: Mapping[str, Style], share: float, draw: random.Random) -> dict[str, Kind]:
    """Which of `ids` are spoiled and how: exactly the rounded share of them, kinds by turns within a style."""
    chosen = draw.sample(sorted(ids), round(share * len(ids)))
    result: dict[str, Kind] = {}
    turn: dict[Style, int] = {"cot": 0, "pot": 0, "tir": 0}
    loops = 0
    for id_ in chosen:
        kinds = KINDS[ids[id_]]
        if loops >= MOST_ENDLESS_LOOPS:
            kinds = tuple(kind for kind in kinds if kind != "endless_loop")
        kind = kinds[turn[ids[id_]] % len(kinds)]
        turn[ids[id_]] += 1
        loops += kind == "endless_loop"
        result[id_] = kind
    return result


def _wrong_numbers(made: DemoProblem, draw: random.Random) -> dict[str, int]:
    """The problem's numbers with one of them replaced, so that the result differs."""
    right = value_of(made.template.expression, made.numbers)
    while True:
        letter = draw.choice(sorted(made.numbers))
        numbers = {**made.numbers, letter: draw.randint(*made.template.range_of(letter))}
        if value_of(made.template.expression, numbers) != right:
            return numbers


def _breaking(code: str, draw: random.Random) -> str:
    """`code` changed so that it raises: an undefined name, a division by zero or a missing bracket."""
    return draw.choice(
        [code.replace("print(", "print(total+", 1), code.replace("print(", "print(1//0+", 1), code.rstrip(")")]
    )


def spoil(solution: Solution, made: DemoProblem, kind: Kind, draw: random.Random) -> Solution:
    """`solution` spoiled in the way of `kind`."""
    expression, language = made.template.expression, made.problem.language
    right = value_of(expression, made.numbers)
    wrong = right + draw.choice([-1, 1]) * draw.randint(1, 99)
    code = program(expression, made.numbers)
    numbers = made.numbers
    if kind == "wrong_operand":
        numbers = _wrong_numbers(made, draw)
        code = program(expression, numbers)
    elif kind == "raises":
        code = _breaking(code, draw)
    elif kind == "endless_loop":
        code = f"while True:\n    pass\n{code}"
    elif kind == "wrong_answer" and solution.style == "pot":
        code = f"print({wrong})"
    turns: tuple[Turn, ...]
    if solution.style == "cot":
        turns = (Turn("text", words(expression, numbers, language, wrong if kind == "wrong_answer" else None)),)
    elif solution.style == "pot":
        turns = (Turn("code", code),)
    else:
        output = {"wrong_operand": value_of(expression, numbers), "wrong_output": wrong}.get(kind, right)
        answer = {"wrong_operand": value_of(expression, numbers), "wrong_answer": wrong}.get(kind, right)
        turns = tool_turns(code, output, answer, language)
    return replace(solution, turns=turns)
