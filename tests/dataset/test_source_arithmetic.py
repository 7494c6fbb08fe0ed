"""Marks and equations become programs that print the answer as it is written."""

from __future__ import annotations

import ast
import subprocess
import sys
from fractions import Fraction

import pytest

from dataset.sources.ape210k import as_written, program_of_equation, reference_of
from dataset.sources.arithmetic import exact, in_fractions, read_expression
from dataset.sources.gsm8k import program_of_marks
from sandbox.errors import InputError

EXPRESSIONS = [
    ("48/2", "24"), (".5*8", "4"), ("1,000+05", "1005"), ("25%", "1/4"), ("1/25%", "4"), ("2(1/3)", "7/3"),
    ("(1/3):75%", "4/9"), ("2×3÷4", "3/2"), ("-3+5", "2"), ("2**3", "8"), ("（1＋2", None), ("1-(1/5)-(1/4)", "11/20"),
    ("x+1", None), ("1/0", None), ("__import__('os')", None), ("9**9**9", None), ("((1)", None), ("", None),
    ("100%-12.5%", "7/8"), ("1(1/2)+2.", "7/2"), ("[3+4]*2", "14"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), EXPRESSIONS)
def test_written_arithmetic_has_its_value_or_is_refused(text: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(InputError):
            exact(read_expression(text))
        return
    tree = read_expression(text)
    assert exact(tree) == Fraction(value)
    # Python itself, computing in fractions, agrees with our reading.
    assert eval(ast.unparse(ast.fix_missing_locations(in_fractions(tree))), {"Fraction": Fraction}) == Fraction(value)


def test_marks_become_a_program_whose_steps_use_each_other() -> None:
    worked = "a <<12*7=84>>84 b <<84/2=42>>42"
    # 84 / 2 is 42.0 in Python: the answer is printed as it is written.
    shown = "print(f'{step2:.12g}')"
    assert program_of_marks(worked, "12 jars, 7 boxes", "42") == f"step1 = 12 * 7\nstep2 = step1 / 2\n{shown}"
    # 84 is a number of the question's own here: it stays.
    assert program_of_marks(worked, "12 jars, 7 boxes, 84", "42") == f"step1 = 12 * 7\nstep2 = 84 / 2\n{shown}"
    # The last mark is not the answer; the one before it is.
    assert program_of_marks(worked, "12 jars, 7 boxes", "84") == "step1 = 12 * 7\nstep2 = step1 / 2\nprint(step1)"
    assert program_of_marks("no marks", "q", "1") is None
    assert program_of_marks("<<180//7=25>>25", "180 in 7", "25") == "step1 = 180 // 7\nprint(step1)"


REFERENCES = [
    ("45", "45"),
    ("(11/20)", "11/20"),
    ("2(1/2)", "2 1/2"),
    ("93.75%", "93.75%"),
    ("7/(3+4)", "1"),
    ("-3", "-3"),
    ("19((3)/(4))", "19 3/4"),  # Math23K
    ("((3)/(4))", "3/4"),
    ("3_750", "3750"),
]


@pytest.mark.parametrize(("answer", "reference"), REFERENCES)
def test_ape210k_answers_are_written_as_usual(answer: str, reference: str) -> None:
    assert reference_of(answer) == reference


def test_equations_become_programs_in_the_form_of_their_answer() -> None:
    assert program_of_equation("x=135+3", "138") == "x = 135 + 3\nprint(x)"
    assert program_of_equation("x=135/3", "45") == "x = 135 / 3\nprint(f'{x:.12g}')"
    assert "Fraction(1, 5)" in program_of_equation("x=1-(1/5)", "4/5")
    assert program_of_equation("x=15/16", "93.75%") == "x = 15 / 16\nprint(f'{x * 100:.12g}%')"


PRINTED = [
    ("x=(1/3)*3.14*(31.4/(2*3.14))**2*1.2/(10/100*4)", "78.5"),  # 78.49999999999999 in floats
    ("x=0.1+0.2", "0.3"), ("x=1200/3", "400"), ("x=2**40/1024", "1073741824"), ("x=10/3", "3.33"),
    ("x=1-(1/5)-(1/4)", "11/20"), ("x=(20%*300)/(300+100)", "15%"), ("x=1000000000000000*3/3", "1000000000000000"),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "answer"), PRINTED)
def test_a_program_prints_its_answer_as_it_is_written(equation: str, answer: str) -> None:
    done = subprocess.run([sys.executable, "-c", program_of_equation(equation, answer)], capture_output=True, text=True)
    assert done.stdout.strip() == (answer if answer != "3.33" else str(10 / 3))  # what is rounded stays what it is


WRITTEN = [
    ("1413/25", "半径6米的圆，面积的一半是多少平方米？", "x=3.14*6**2/2", "56.52"),
    ("3/20", "得到的盐水含盐百分比是多少．", "x=((20%*300)/(300+100))*100%", "15%"),
    ("1", "多百分之几？", "x=(40%-20%)/20%", "100%"),
    ("11/20", "还剩几分之几？", "x=1-(1/5)-(1/4)", "11/20"),
    ("1/3", "每份多少千克？", "x=1.5/4.5", "1/3"),
    ("3/8", "已用去的占这桶油的多少？", "x=3/(3+5)", "3/8"),
    ("5/2", "每枝多少元？", "x=10/4", "2.5"),
    ("40", "多少元？", "x=80/2", "40"),
]


@pytest.mark.parametrize(("reference", "question", "equation", "written"), WRITTEN)
def test_a_result_of_the_hubs_is_written_as_the_question_has_it(
    reference: str, question: str, equation: str, written: str
) -> None:
    assert as_written(reference, question, equation) == written
