"""Where the answer stands: boxes, sentences, outputs, numbers; each form that models write is a row."""

from __future__ import annotations

import pytest

from dataset.answers import boxes, extract, extract_from_turns
from dataset.extraction.values import last_value
from dataset.types import Problem, Turn

LIST = "Enter all the solutions, separated by commas."


def problem(question: str = "How many?") -> Problem:
    return Problem(id="p", source="s", language="en", question=question, answer="never looked at")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"So it is $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\boxed{\text{a}^{b_{c}}}", r"\text{a}^{b_{c}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{5} or rather \boxed{6}", "6"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed 8 is it", "8"),
        (r"\fbox{9}", "9"),
        (r"\\boxed{10}", "10"),
        ("\\boxed{11\nand then nothing closes", "11"),
        (r"\boxed{} and nothing else, 12", "12"),
        (r"The answer is \boxed{3}. The answer is 4.", "4"),
        (r"The answer is \boxed{3}. The answer is correct.", "3"),
        (r"At first \boxed{5}. Final: \boxed{}", None),
        (r"At first \boxed{5}. But on a second look it is \boxed{", None),
        (r"so $a = -8\cdot 32 = -\boxed{256}$.", "-256"),
        (r"The range is $5 - \boxed{2}$.", "2"),
        (r"It is -$\boxed{5}$.", "-5"),
        (r"So $x = \pm\boxed{3}$.", r"\pm 3"),
        (r"That is $\boxed{25}\%$ of it.", "25%"),
        (r"It has $\boxed{30}^\circ$.", r"30^\circ"),
        (r"So $\boxed{25}\text{ km}$.", r"25 \text{km}"),
        (r"所以是\boxed{3}小时。", "3小时"),
        (r"It takes \boxed{3} in all.", "3"),
        (
            r"First $\boxed{200}$, then $\boxed{255}$, which makes $455$. Final Answer: The final answer is $455$.",
            "455",
        ),
        (r"We find \boxed{a \ll b}, so it is choice D.", "D"),
    ],
)
def test_last_box_or_a_later_statement_is_the_answer(text: str, expected: str | None) -> None:
    assert extract(text, problem()) == expected


@pytest.mark.parametrize(
    ("text", "question", "expected"),
    [
        (r"$x=\boxed{-2}$ and $x=\boxed{1}$", LIST, "-2, 1"),
        (r"$\boxed{3}$ and again $\boxed{3}$", LIST, "3"),
        (r"$\boxed{3}$, $\boxed{4}$, so $\boxed{3, 4}$", LIST, "3, 4"),
        (r"$\boxed{-2}$ and $\boxed{1}$", "What is x?", "-2, 1"),
        (r"At first \boxed{2}. Then we add \boxed{3}.", "What is x?", "3"),
        (r"$\boxed{x+11}$ or $\boxed{11+x}$", "Simplify it.", "x+11"),
        (r"$\boxed{(1,2)}$ and $\boxed{(3,4)}$", "Enter the coordinates of one of the foci, not both.", "(3,4)"),
        (r"$k = \boxed{45}$ and $n = \boxed{2}$", "Find $k$ and $n$.", "k = 45, n = 2"),
        (r"$d=\boxed{-3}$. Note: $\boxed{3}$ is also accepted as an answer.", "What is d?", "-3"),
        (r"$\boxed{12}=6$. Therefore, $6$ is our answer.", "Find it.", "6"),
    ],
)
def test_several_boxes_are_joined_where_they_are_one_answer(text: str, question: str, expected: str) -> None:
    assert extract(text, problem(question)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She makes 9 * 2 = 18.\n#### 18", "18"),
        ("So 3 + 4 = 7. The answer is 40,000.", "40,000"),
        ("The answer is: $\\frac{3}{4}$.", r"\frac{3}{4}"),
        ("The answer is 3.5.", "3.5"),
        ("The answer is (B).", "(B)"),
        ("**Answer:** 12 apples", "12 apples"),
        ("The final answer is\n\n42", "42"),
        ("The answer is that they pay $18 in all. Bye.", "18"),
        ("The answer is 5. Wait. The answer is 6.", "6"),
        ("答案是18元。", "18元"),
        ("答：他们一共走了18千米。", "18千米"),
        ("综上，选$\\text{C}$．", "\\text{C}"),
        ("综上，选$$\\text{C}$$．", "\\text{C}"),
        ("故答案选择：$\\text{A}$选项．", "A"),
        ("故选: D 【点晴】本题主要考查复数", "D"),
        ("The answer is 2:25 P.M.", "2:25 P.M"),
        ("The answer is 3 remainder 2.", "3 remainder 2"),
        ("Answer \\( (9+1) \\)", "(9+1)"),
        ("Final Answer: the area of $PQRS$ equals 120.", "120"),
        ("答案：$\\frac{3}{4}$", r"\frac{3}{4}"),
        ("所以选C。", "C"),
        ("故答案为：12。", "12"),
    ],
)
def test_what_is_said_to_be_the_answer_is_it(text: str, expected: str) -> None:
    assert extract(text, problem()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\nprint(3)\n```\n```output\n3\n```\n", "3"),
        ("```python\nprint(3)\n```\n```output\nstep 1\n3.5\n\n```\n", "3.5"),
        ("```python\nx\n```\n```output\nThe total cost is: 42\n```\n", "42"),
        ("```python\nx\n```\n```output\n[2, 3]\n```\n", "[2, 3]"),
        ("```python\nx\n```\n```output\n170000.0\n```\nJosh made a profit of 180000 dollars.", "170000.0"),
        ("```python\nx\n```\n```output\n1\n```\nNo.\n```python\ny\n```\n```output\n2\n```\n", "2"),
        ("```python\nx\n```\n```output\n1\n```\nThe answer is 7.", "7"),
        ("```python\nx\n```\n```output\n1\n```\nSo $\\boxed{8}$.", "8"),
        ("There are 5.\n```python\nx\n```\n```output\nTimeout Error\n```\n", None),
        ("5\n```python\nx\n```\n```output\nTraceback (most recent call last):\nNameError: name 'x'\n```\n", None),
        ("```python\nx\n```\n```output\nValueError: bad\n```\nSo there are 6 of them.", "6"),
        ("```python\nprint(1)\n```", None),
        ("```python\nprint('\\boxed{1}')\n```\n```output\n\\boxed{2}\n```\n", "2"),
    ],
)
def test_what_the_last_program_printed_is_the_answer_where_nothing_is_said(text: str, expected: str | None) -> None:
    assert extract(text, problem()) == expected


def test_last_line_that_is_only_a_value_comes_before_the_box() -> None:
    turns = [Turn("text", r"Both are \boxed{15} and \boxed{9}."), Turn("text", "15")]
    assert extract_from_turns(turns, problem()) == "15"
    assert extract("It costs \\boxed{\\$57,500}.\n57,500", problem()) == "57,500"
    assert extract("It costs \\boxed{7}.\nThat is 3 more than 4.", problem()) == "7"


def test_choice_letter_is_found_where_the_question_has_choices() -> None:
    question = "Which is it? (A) 10 (B) 12 (C) 14"
    assert extract("It cannot be (A), so it is (C), 14 in all", problem(question)) == "C"
    assert extract("It cannot be (A), so 14 in all", problem("Which is it?")) == "14"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"So $x=\frac{3}{5}$.", r"x=\frac{3}{5}"),
        (r"It is $\sqrt{5}$.", r"\sqrt{5}"),
        (r"It is $10^{5}$.", "10^{5}"),
        (r"It is $\log_2 3$.", r"\log_2 3"),
        (r"Hence $y=x^2$.", "y=x^2"),
        (r"Then $S = 2 + 3 = 5$.", "S = 5"),
        (r"So $A_2^2 \times C_3^1 = 6$ ways.", "6"),
        (r"We conclude that $t \in (-\infty, 2]$.", r"t \in (-\infty, 2]"),
        (r"The minimum is $3$ when $x = 1$.", "3"),
        (r"当$x=1$时，最小值为$3$，此时$x=1$时取等号。", "3"),
        (r"So the greatest $k$ must be 34.", "34"),
        (r"The solutions are $x=2$ and $x=5$.", "x=2, x=5"),
        ("The values are 2, 3 and 5.", "2, 3, 5"),
        ("There were 1 000 visitors", "1 000"),
        ("It leaves at half past three.", "half past three"),
        ("商是3余2。", "商是3余2"),
        ("She pays $18 and he pays $20 in all.", "20"),
        (r"即为$$13$$:$$10$$．", "13  :  10"),
        (r"so it's $\text{D}$.", r"\text{D}"),
    ],
)
def test_last_value_is_whole_and_no_number_out_of_a_formula(text: str, expected: str) -> None:
    assert last_value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from 3 to 1,234.5 in all", "1,234.5"),
        ("about 3/4 of it", "3/4"),
        ("it fell by -5", "-5"),
        ("some 25%", "25%"),
        ("pages 3-5", "5"),
        ("一共18个", "18"),
        ("x2 and y", None),
        ("none", None),
    ],
)
def test_last_value_in_plain_words(text: str, expected: str | None) -> None:
    assert last_value(text) == expected


@pytest.mark.parametrize("text", ["", "   ", "no number here", "```output", "```python", "\\boxed{", "$", "\\"])
def test_nothing_is_found_in_nothing(text: str) -> None:
    assert extract(text, problem()) is None


def test_boxes_keeps_all_in_order() -> None:
    assert boxes(r"\boxed{1} \boxed{\frac{2}{3}} \boxed{}") == ["1", r"\frac{2}{3}"]
