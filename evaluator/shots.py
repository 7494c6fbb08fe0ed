"""Worked examples before the question, for base models that have learned no chat: few-shot prompts.

The formats are those under which base models are measured: chain of thought on GSM8K with eight examples (arXiv
2201.11903), on MATH with four (arXiv 2206.14858), programs with PAL (arXiv 2211.10435). Problems and texts are our own,
so they are in no benchmark; scores are near, but not equal to, those with the published prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataset.types import Style


@dataclass(frozen=True, kw_only=True)
class Shots:
    """A few-shot prompt. `style` is the only one that it shows; `ends` begins the next example: the answer is over."""

    style: Style
    frame: str
    ends: str
    examples: Sequence[tuple[str, str]]

    def prompt(self, question: str) -> str:
        """The examples and `question`, up to where its answer begins."""
        worked = [self.frame.format(question=asked) + answer for asked, answer in self.examples]
        return "\n\n".join([*worked, self.frame.format(question=question.strip())])


GSM8K_COT = Shots(
    style="cot",
    frame="Question: {question}\nAnswer:",
    ends="\n\nQuestion:",
    examples=(
        (
            "A baker had 45 rolls. She sold 18 in the morning and 12 in the afternoon. How many rolls are left?",
            " She sold 18 + 12 = 30 rolls. 45 - 30 = 15 rolls are left. The answer is 15.",
        ),
        (
            "A tram ticket costs 3 coins. Lena rides twice a day on 5 days. How many coins does she pay?",
            " She rides 2 * 5 = 10 times. She pays 10 * 3 = 30 coins. The answer is 30.",
        ),
        (
            "Omar reads 14 pages a day. His book has 154 pages. In how many days has he read half of it?",
            " Half of the book is 154 / 2 = 77 pages. 77 / 14 = 5.5 days. The answer is 5.5.",
        ),
        (
            "A tank holds 120 liters. It is one quarter full, and 8 liters a minute flow in. After how many minutes is "
            "it three quarters full?",
            " A quarter is 120 / 4 = 30 liters. Three quarters are 90 liters. 90 - 30 = 60 liters are missing. "
            "60 / 8 = 7.5 minutes. The answer is 7.5.",
        ),
        (
            "Ines has 7 marbles more than Paul, and Paul has 3 times as many as Kai. Kai has 6. How many has Ines?",
            " Paul has 3 * 6 = 18 marbles. Ines has 18 + 7 = 25. The answer is 25.",
        ),
        (
            "A coat costs $80. Its price falls by 15%. Then a $5 coupon is taken off. What is paid?",
            " 15% of 80 is 12, so the price is 80 - 12 = 68. With the coupon it is 68 - 5 = 63. The answer is 63.",
        ),
        (
            "Three printers print 36 sheets a minute together, all equally fast. How many sheets does one print in "
            "half an hour?",
            " One prints 36 / 3 = 12 sheets a minute. In 30 minutes it prints 12 * 30 = 360. The answer is 360.",
        ),
        (
            "A farmer packs 130 eggs into boxes of 12. How many eggs are left over?",
            " 130 / 12 is 10 with a remainder, because 10 * 12 = 120. 130 - 120 = 10 eggs are left. The answer is 10.",
        ),
    ),
)

MATH_COT = Shots(
    style="cot",
    frame="Problem:\n{question}\n\nSolution:\n",
    ends="\n\nProblem:",
    examples=(
        (
            r"For which $x$ is the expression $\frac{1}{\sqrt{x-2}}+\sqrt{5-x}$ defined? Use interval notation.",
            r"The first root must be positive, so $x>2$. The second may not be negative, so $x\le 5$. "
            r"Both hold on $\boxed{(2,5]}$."
            "\n"
            r"Final Answer: The final answer is $(2,5]$.",
        ),
        (
            r"If $\det \mathbf{M} = 3$ for a $2 \times 2$ matrix $\mathbf{M}$, what is $\det (2\mathbf{M}^2)$?",
            r"A factor of 2 multiplies both rows, so it gives $2^2 = 4$. $\det \mathbf{M}^2 = 3^2 = 9$. "
            r"Together this is $4 \cdot 9 = \boxed{36}$."
            "\n"
            r"Final Answer: The final answer is $36$.",
        ),
        (
            r"A pump empties a pool in 6 hours, another in 4. How many hours do both take together?",
            r"In an hour they empty $\frac16 + \frac14 = \frac{5}{12}$ of the pool, so they take "
            r"$\boxed{\frac{12}{5}}$ hours."
            "\n"
            r"Final Answer: The final answer is $\frac{12}{5}$.",
        ),
        (
            r"The system $3x - y = a$, $2y - 6x = b$ has a solution, and $a \ne 0$. Find $\frac{a}{b}$.",
            r"The second left side is $-2$ times the first, so $b = -2a$ and $\frac{a}{b} = \boxed{-\frac12}$."
            "\n"
            r"Final Answer: The final answer is $-\frac12$.",
        ),
    ),
)

PAL = Shots(
    style="tir",
    frame="Question: {question}\n\nSolution in Python:\n",
    ends="\n\nQuestion:",
    examples=(
        (
            "A baker had 45 rolls. She sold 18 in the morning and 12 in the afternoon. How many rolls are left?",
            "```python\nrolls = 45\nsold = 18 + 12\nprint(rolls - sold)\n```",
        ),
        (
            "A coat costs $80. Its price falls by 15%. Then a $5 coupon is taken off. What is paid?",
            "```python\nprice = 80\nafter_sale = price * 85 / 100\ncoupon = 5\nprint(after_sale - coupon)\n```",
        ),
        (
            "Ines has 7 marbles more than Paul, and Paul has 3 times as many as Kai. Kai has 6. How many has Ines?",
            "```python\nkai = 6\npaul = 3 * kai\nines = paul + 7\nprint(ines)\n```",
        ),
        (
            "Two numbers add to 30 and differ by 4. What is the larger one?",
            "```python\nfrom sympy import solve, symbols\n\nx, y = symbols('x y')\n"
            "found = solve([x + y - 30, x - y - 4], [x, y])\nprint(found[x])\n```",
        ),
    ),
)
