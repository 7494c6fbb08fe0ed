"""Adversarial texts, made from a seed: real answers damaged, deep nesting, long runs and numbers, any unicode.

For the suite, which makes a thousand, and for `python -m bench.grader --fuzz`, which makes a hundred thousand.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

# Pieces of answers and of the sentences around them, in both languages.
PIECES = [
    *str.split(
        r"\frac{1}{2} \boxed{ } { $ $$ \( \) \[ \] ( ) [ ] \{ \} , ; : = \approx < > \le \ge \in \pm - + * / ^ _ ! ' % "
        r"\% \\ \ & \sqrt{ \sum_{k=1}^{ \int_0^1 dx \begin{cases} \end{cases}"
        r"\begin{pmatrix} \end{pmatrix} \text{ \left( "
        r"\right) \overline{3} \infty \pi x y k n i j A B C 0 1 2 3.5 0.333... 1,234 12:30 1e5 9^9^9 10! 7/8 25% "
        r"30^\circ 15' mod base_8 oo sqrt( log( Matrix([[ Interval( Piecewise(( [1 2;3 4] True None nan **"
    ),
    *str.split(
        "the answer is The final therefore so option choice (A) (B) correct because when for all where c is a constant "
        "half past three quarter to five p.m. remainder R quotient dollars and cents cm^2 km/h hours 30 minutes "
        "million two thirds no solution Monday"
    ),
    *str.split(
        "答案是 故选 所以 选项 正确 余 商 元 角 分 点 半 下午 时 小时 千米 八折 三成 三分之二 "
        "百分之五 万 亿 或 和 不 无解 星期一 ① ③ 。 ， ； ： （ ）"
    ),
    *("\n", " ", "\t", "\x00", "\x0c", "\ud800", "\u202e", "\u200b", "０", "²", "½", "𝟙", "é", "\U0001f600"),
    *("```output\n", "```\n", "####"),
]
LONGEST = 2_000  # characters of most texts; one in fifty is twenty times as long


def texts(seed: int, count: int, real: list[str]) -> Iterator[str]:
    """`count` texts; `real` answers and solutions are among what is damaged."""
    rng = random.Random(seed)
    for _ in range(count):
        kind = rng.randrange(6)
        length = LONGEST * (20 if rng.random() < 0.02 else 1)
        if kind == 0 and real:
            yield _damaged(rng, rng.choice(real))
        elif kind == 1:
            yield "".join(rng.choice(PIECES) + rng.choice(("", " ")) for _ in range(rng.randrange(1, 60)))
        elif kind == 2:  # one or two pieces again and again
            pieces = [rng.choice(PIECES) for _ in range(rng.randrange(1, 4))]
            yield ("".join(pieces) * length)[: rng.randrange(1, length)] + rng.choice(PIECES)
        elif kind == 3:  # nesting, closed or not
            opening, closing = rng.choice(
                (("{", "}"), ("(", ")"), ("[", "]"), (r"\frac{", "}{2}"), (r"\boxed{", "}"), (r"\sqrt{", "}"))
            )
            depth = rng.randrange(1, length // len(opening))
            yield opening * depth + rng.choice(PIECES) + closing * rng.choice((depth, depth, 0, depth // 2))
        elif kind == 4:  # numbers
            digits = "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, length)))
            yield (
                rng.choice(("", "-", "0.", "0." + "0" * 500, "1.", r"\frac{", "x=", "共"))
                + digits
                + rng.choice(("", "%", "e9", "!", "^" + digits[:5], "}{3}", "元", ".5"))
            )
        else:
            yield "".join(
                chr(rng.choice((rng.randrange(128), rng.randrange(0x3000, 0xA000), rng.randrange(0x110000))))
                for _ in range(rng.randrange(1, 300))
            )


def _damaged(rng: random.Random, text: str) -> str:
    """`text` with a few pieces taken out, doubled, moved or put in."""
    for _ in range(rng.randrange(1, 6)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.randrange(1, 30))
        text = rng.choice(
            (
                text[:start] + text[end:],
                text[:end] + text[start:],
                text[:start] + rng.choice(PIECES) + text[start:],
                text[:start] + text[start:end][::-1] + text[end:],
                text[start:end] * rng.randrange(1, 50),
            )
        )
    return text
