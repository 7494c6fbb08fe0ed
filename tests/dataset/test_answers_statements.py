"""How solutions state what they found: asides, reasons behind it, roundings, choices in words, boxes without braces."""

from __future__ import annotations

import pytest

from dataset.answers import extract
from dataset.equality import equivalent
from dataset.types import Problem


def out(printed: str) -> str:
    """A solution that ends with what its program printed."""
    return f"```python\nx\n```\n```output\n{printed}\n```\n"


# text, question, reference, whether the answer in the text is the reference
ROWS: list[tuple[str, str | None, str, int]] = [
    ("\\boxed7", None, "7", 1),
    ("the probability is $\\frac{2}{3}$, or about 0.667.", None, "2/3", 1),
    ("No, it is not possible.", None, "no", 1),
    ("Yes, the triangles are congruent.", None, "Yes", 1),
    ("The answer is 10 (ten).", None, "10", 1),
    ("So the answer is 6, as 6 = 2×3.", None, "6", 1),
    ("当x=2时，y=3。", "求y", "3", 1),
    ("所以A是正确的。", "下列哪个正确？A. 1 B. 2", "A", 1),
    (out("((-oo < x) & (x < -1)) | ((2 < x) & (x < oo))"), None, "x<-1 or x>2", 1),
    (out("zoo"), None, "undefined", 1),
    ("the probability is $\\frac{2}{3}$, or about 0.667.", None, "0.667", 1),
    ("It is 2/3 (about 0.667).", None, "0.667", 1),
    ("The exact value is $\\frac{1}{3}$ (approximately 0.333).", None, "1/3", 1),
    ("No, it is not possible.", None, "yes", 0),
    ("No, there are 12 of them.", None, "12", 1),
    ("Therefore the triangles are congruent. Yes, they are.", None, "yes", 1),
    ("So the answer is 6, as 6 = 2×3.", None, "3", 0),
    ("The answer is 6, which is 2 times 3.", None, "6", 1),
    ("The answer is 6, 7.", None, "6, 7", 1),
    ("当x=2时，y=3。", "求y", "2", 0),
    ("So $x=1, y=2$.", None, "x=1,y=2", 1),
    ("So $x=1, y=2$.", None, "2", 0),
    ("Thus $x = 1,\\ y = 2$ solves the system.", None, "x=1,y=2", 1),
    ("So $a+b = 2+3 = 5$.", None, "5", 1),
    ("必有$a=-1,  b=0$．", None, "a=-1,b=0", 1),
    ("\\boxed12", None, "12", 1),
    ("\\boxed-3", None, "-3", 1),
    ("\\boxed{12}3", None, "12", 1),
    ("So \\boxed 3.5.", None, "3.5", 1),
    ("So the answer is $$\\left(\\text{B}\\right)$$ Monday.", None, "B", 1),
    ("We see that only C is correct. 只有C符合题意。", "? (A) 1 (B) 2 (C) 3", "C", 1),
    ("B, C are wrong. So D is correct.", "? (A) 1 (B) 2 (C) 3 (D) 4", "D", 1),
    ("故选项$$\\text{A}$$正确．", "? (A) 1 (B) 2", "A", 1),
    ("因此共有$223$种情况（$a$可以为$0$）．", None, "223", 1),
    ("可能的取值为2、3、5共七种．", None, "7", 1),
    ("综上所述，原方程组只有一组解．", None, "1", 1),
    ("正确的个数为两个．", None, "2", 1),
    ("一共15人（男生7人）。", None, "15", 1),
    ("它长15（厘米）。", None, "15", 1),
    ("可得$\\bigcirc=120$", None, "120", 1),
    ("$11\\div 7=1\\cdots \\cdots 4$．", "余几？\n(A) 3\n(B) 4\n(C) 5", "4", 1),
    (out("((-oo < x) & (x < -1)) | ((3 < x) & (x < oo))"), None, "x<-1 or x>2", 0),
    (
        out("54\n6.0\n6.0"),
        "The cafeteria had 86 apples. If each pie takes 9 apples, how many pies could they make?",
        "6.0",
        1,
    ),
    (out("3\n4"), "How many did each get?", "3, 4", 1),
    ("Solving gives $x = 2$ (rejecting $x=-3$).", None, "x=2", 1),
    ("The answer is <b>17</b>.", None, "17", 1),
    ("**A**", "(A) 1 (B) 2", "A", 1),
    ("正确选项为A、C。", None, "AC", 1),
    ("答案选B，不选A。", None, "B", 1),
    ("Solving gives $x = 2$ (rejecting $x=-3$).", None, "x=-3", 0),
    ("a < b and so <b>17</b>.", None, "17", 1),
    ("答案选B，不选A。", None, "A", 0),
    ("正确选项为A、C。", None, "A", 0),
    ("由题意得a=2或a=-2（舍去）。", None, "2", 1),
    ("$a=2$或$a=-2$（舍）", None, "2", 1),
    ("故最小值为5，此时x=1。", None, "5", 1),
    ("故正确的命题是①②④。", None, "①②④", 1),
    ("交点坐标为（1，2）。", None, "(1,2)", 1),
    ("表面积为6π。", None, "6π", 1),
    ("答：占三分之一。", None, "1/3", 1),
    ("Answer: $24$ cm$^2$", None, "24", 1),
    ("The probability is 1 in 4.", None, "1/4", 1),
    ("由题意得a=2或a=-2（舍去）。", None, "-2", 0),
    ("a=-2（舍去），a=2。", None, "2", 1),
    ("x = 5, and x = -5 is rejected.", None, "5", 1),
    ("故最小值为5，此时x=1。", None, "1", 0),
    ("$36$ cm$^2$", None, "36", 1),
    ("The area is $36$ cm$^2$.", None, "36 cm^2", 1),
    ("The area is $36$ cm$^2$.", None, "36 cm^3", 0),
    ("体积是6π立方厘米。", None, "6π", 1),
    ("点的坐标是（1，-2）。", None, "(1,-2)", 1),
]


@pytest.mark.parametrize(("text", "question", "reference", "right"), ROWS)
def test_the_answer_that_a_text_states_is_found(text: str, question: str | None, reference: str, right: int) -> None:
    problem = Problem(id="p", source="s", language="en", question=question or "", answer=None)
    predicted = extract(text, problem)
    assert (equivalent(reference, predicted, question).correct is True) == bool(right), predicted
