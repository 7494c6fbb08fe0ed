"""Fresh demo problems and their right solutions in words, as a program, and in both.

Everything is drawn from one seeded generator, so that a seed names a data set. Solutions are short: the demo's model
learns to write them in minutes on two cores.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dataset.demo.templates import NAMES, TEMPLATES, Template
from dataset.types import Language, Problem, Solution, Style, Turn

STYLES: tuple[Style, ...] = ("cot", "pot", "tir")
_RESULTS = "xyz"  # names of intermediate results in a program; no template uses these letters
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//"}
_INTRODUCTION: dict[Language, str] = {"en": "Let me compute it.", "zh": "用程序计算。"}
_CONCLUSION: dict[Language, str] = {"en": "The answer is $\\boxed{{{}}}$.", "zh": "答案是$\\boxed{{{}}}$。"}


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: `left sign right = value`; the sides are numbers or names of earlier results."""

    left: str
    sign: str
    right: str
    value: int


@dataclass(frozen=True, slots=True)
class DemoProblem:
    """A problem with the numbers that were put into its template."""

    problem: Problem
    template: Template
    numbers: Mapping[str, int]


def steps_of(expression: str, numbers: Mapping[str, int]) -> list[Step]:
    """The operations of `expression` in the order in which they are done, with their values."""
    steps: list[Step] = []

    def walk(node: ast.expr) -> tuple[str, int]:
        if isinstance(node, ast.Name):
            return str(numbers[node.id]), numbers[node.id]
        assert isinstance(node, ast.BinOp), ast.dump(node)
        (left, left_value), (right, right_value) = walk(node.left), walk(node.right)
        sign = _SIGNS[type(node.op)]
        value = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "//": int.__floordiv__}[sign](
            left_value, right_value
        )
        steps.append(Step(left, sign, right, value))
        return _RESULTS[len(steps) - 1], value

    walk(ast.parse(expression, mode="eval").body)
    return steps


def value_of(expression: str, numbers: Mapping[str, int]) -> int:
    """The value of `expression`."""
    return steps_of(expression, numbers)[-1].value


def _draw_numbers(template: Template, draw: random.Random) -> dict[str, int]:
    """Numbers that make every intermediate result positive, every division exact, and all of them different.

    Different numbers let a wrong operand always be told from the right one.
    """
    letters = sorted({node.id for node in ast.walk(ast.parse(template.expression)) if isinstance(node, ast.Name)})
    while True:
        numbers = {letter: draw.randint(*template.range_of(letter)) for letter in letters}
        values = {"x": 0, **numbers}
        good = len(set(numbers.values())) == len(numbers)
        for name, step in zip(_RESULTS, steps_of(template.expression, numbers), strict=False):
            left = values[step.left] if step.left in values else int(step.left)
            right = values[step.right] if step.right in values else int(step.right)
            values[name] = step.value
            good = good and step.value > 0 and (step.sign != "//" or left % right == 0)
        if good:
            return numbers


def draw_problems(count: int, split: str, draw: random.Random, used: set[str]) -> Iterator[DemoProblem]:
    """`count` problems whose questions are not in `used`; each question is added to it."""
    made = 0
    while made < count:
        template = draw.choice(TEMPLATES)
        numbers = _draw_numbers(template, draw)
        question = template.question.format(n=draw.choice(NAMES[template.language]), **numbers)
        if question in used:
            continue
        used.add(question)
        problem = Problem(
            id=f"demo/{split}/{made:05d}",
            source="demo",
            language=template.language,
            question=question,
            answer=str(value_of(template.expression, numbers)),
            subject=template.name,
            level=str(len(steps_of(template.expression, numbers))),
            split=split,
        )
        made += 1
        yield DemoProblem(problem, template, numbers)


def program(expression: str, numbers: Mapping[str, int]) -> str:
    """A program of one to three lines that prints the value of `expression`."""
    steps = steps_of(expression, numbers)
    if len(steps) < 3:
        return f"print({''.join(str(numbers.get(letter, letter)) for letter in expression)})"
    lines = [f"{_RESULTS[index]}={step.left}{step.sign}{step.right}" for index, step in enumerate(steps[:-1])]
    return "\n".join([*lines, f"print({steps[-1].left}{steps[-1].sign}{steps[-1].right})"])


def conclusion(answer: int, language: Language) -> str:
    """The last sentence, with the answer in a box."""
    return _CONCLUSION[language].format(answer)


def words(expression: str, numbers: Mapping[str, int], language: Language, answer: int | None = None) -> str:
    """One line for each operation, then the conclusion: the computed value, or `answer` instead."""
    values: dict[str, str] = {}
    lines = []
    for name, step in zip(_RESULTS, steps_of(expression, numbers), strict=False):
        left, right = values.get(step.left, step.left), values.get(step.right, step.right)
        values[name] = str(step.value)
        lines.append(f"{left} {step.sign.replace('//', '/')} {right} = {step.value}")
    final = value_of(expression, numbers) if answer is None else answer
    return "\n".join([*lines, conclusion(final, language)])


def stated(made: DemoProblem) -> tuple[Turn, ...]:
    """The conclusion alone, as of somebody who has done the sum in their head."""
    value = value_of(made.template.expression, made.numbers)
    return (Turn("text", conclusion(value, made.problem.language)),)


def tool_turns(code: str, output: int | str, answer: int, language: Language) -> tuple[Turn, ...]:
    """A sentence, a program, what it printed, and the conclusion."""
    return (
        Turn("text", _INTRODUCTION[language]),
        Turn("code", code),
        Turn("output", str(output)),
        Turn("text", conclusion(answer, language)),
    )


def solution(made: DemoProblem, style: Style) -> Solution:
    """The right solution in `style`."""
    expression, numbers, language = made.template.expression, made.numbers, made.problem.language
    value = value_of(expression, numbers)
    turns: tuple[Turn, ...]
    if style == "cot":
        turns = (Turn("text", words(expression, numbers, language)),)
    elif style == "pot":
        turns = (Turn("code", program(expression, numbers)),)
    else:
        turns = tool_turns(program(expression, numbers), value, value, language)
    return Solution(id=f"{made.problem.id}/{style}", problem=made.problem, style=style, turns=turns)
