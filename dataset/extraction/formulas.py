r"""Where the formulas of a text stand ($…$, $$…$$, \(…\), \[…\]), and what a chain of equations in one comes to.

A dollar sign may be money: "She pays $18 and he pays $20" has no formula in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dataset.grading import phrases
from dataset.grading.lexer import Hints, Unreadable
from dataset.grading.normalize import MAX_CHARACTERS, clean
from dataset.grading.parser import read
from dataset.grading.tree import App, Node, Seq, Sym, Words, contains, variables
from dataset.grading.unwrap import is_name

_DELIMITER = re.compile(r"\\\\|\\\$|\$\$?|\\[()\[\]]|\n[^\S\n]*\n")
_CLOSING = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]"}
_PROSE = re.compile(r"[A-Za-z]{2,}[,.]? +[A-Za-z]{2,}")
_EQUALS = re.compile(
    r"\\(?:left|right)?[{}]|[{}()\[\]]|\\(?:equiv|approx)(?![a-zA-Z])|[<>!:=]?=|≈|\\[a-zA-Z]+|\\.", re.DOTALL
)
STEP = re.compile(r"\\(?:therefore|because|Rightarrow|Longrightarrow|implies|iff|Leftrightarrow)(?![a-zA-Z])|∴|⇒")
# What has letters and is no variable: commands, A_2^2 and C_5^2 of counting, S_{10} and P(A), words.
_CHOICE_FIRST = re.compile(r"\s*(?:\\left)?\(\s*\\?(?:rm|text|mathrm|textbf|bf)?\s*\{?\s*[A-J]\s*\}?\s*(?:\\right)?\)")
_SUBSCRIPT = re.compile(r"_\{?\d{1,3}\}?")  # (\rm D) 4
_COUNTED = re.compile(r"\\(?:text|mathrm|rm)\s*\{[^{}]*\}|\\[a-zA-Z]+|\{?[A-Z]\}?(?:_\{?\w+\}?)?(?:\^\{?\w+\}?)?")


_INNER = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}")
_COMMA = re.compile(r"[,;，；、]|\\text\{\s*(?:and|or)\b|\\q?quad")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text: `text` is what is in it, its delimiters left out."""

    start: int
    end: int
    text: str
    formula: bool = True


def formulas(text: str) -> list[Span]:
    """The formulas of `text` in their order; a delimiter that is not closed within its paragraph opens none."""
    found: list[Span] = []
    sign, start, inside = "", 0, 0  # of the formula that is open: its delimiter, where that stands and where it ends
    for mark in _DELIMITER.finditer(text):
        here = mark[0]
        if here in (r"\\", r"\$"):
            continue
        inner = text[inside : mark.start()]
        if here[0] == "\n":
            sign = ""
        elif sign and here == _CLOSING[sign] and not (sign == "$" and _is_money(inner)):
            found.append(Span(start, mark.end(), inner.strip()))
            sign = ""
        elif sign == "$" and here == "$$":  # $a$$b$
            found.append(Span(start, mark.start() + 1, inner.strip()))
            start, inside = mark.start() + 1, mark.end()
        elif here in _CLOSING and (not sign or sign == "$" or here[0] == "\\"):
            sign, start, inside = here, mark.start(), mark.end()
    return [span for span in found if span.text]


def _is_money(inner: str) -> bool:
    """Whether what stands between two dollar signs is an amount and prose after it."""
    return inner[:1].isdigit() and (inner[-1:].isspace() or ("\\" not in inner and _PROSE.search(inner) is not None))


def tree(text: str, question: str | None = None) -> Node | None:
    """`text` as the grader reads it; None where it is in no notation that the grader knows."""
    try:
        return read(clean(text[:MAX_CHARACTERS]), Hints(question))
    except Unreadable:
        return None


def sides(formula: str) -> list[str]:
    r"""What stands between the equals signs (and ≈, ≡) outside of brackets."""
    found, depth, start = [], 0, 0
    for match in _EQUALS.finditer(formula):
        sign = match[0]
        if sign[-1] in "{([":
            depth += 1
        elif sign[-1] in "})]":
            depth -= 1
        elif depth <= 0 and sign in ("=", "==", r"\equiv", r"\approx", "≈"):
            found.append(formula[start : match.start()])
            start = match.end()
    return [*found, formula[start:]]


def value_of(formula: str, question: str | None = None) -> str:
    r"""What `formula` states: of a chain its first name and its last value, of a computation its result.

    x = 2 + 3 = 5 states x = 5, A_2^2 \\times 3 = 6 the number 6, x^2 + y^2 = 13 an equation, and a + b = 13 the number
    13, if a + b was asked for.
    """
    formula = STEP.split(formula.strip())[-1].lstrip(" ,;，；、&\n").rstrip(" ,.;，。；、&\\\n")
    parts = [part.strip() for part in sides(formula)]
    if any(_COMMA.search(_INNER.sub("", part)) for part in parts[1:-1]):
        return formula  # x = 1, y = 2
    if len(parts) < 2 or not parts[-1] or r"\begin" in parts[-1] or "approx" in formula or "≈" in formula:
        return formula  # of an approximation, the grader knows which of the two is exact
    name, last = parts[0], parts[-1]
    if _CHOICE_FIRST.match(last) or phrases.remainder(clean(last[:MAX_CHARACTERS])):
        return last
    if not name:  # "= 5": the formula before it goes on
        return last
    left = tree(name)
    named = left is not None and is_name(left) and bool(variables(left))
    value = tree(last)
    if len(parts) > 2:
        return f"{name} = {last}" if named and value is not None else last
    if named or value is None or variables(value) or contains(value, Words):
        return formula
    return last if is_computation(formula) or _asked(name, question) else formula


def last_side(formula: str) -> str:
    """The last side of a chain whose first is no name: 6 of "2a + b = 6", all of "x = 6"."""
    parts = [part.strip() for part in sides(formula)]
    left = tree(parts[0]) if len(parts) > 1 and parts[-1] else None
    return formula if left is None or is_name(left) else parts[-1]


def is_computation(formula: str) -> bool:
    """Whether a formula computes: an equals sign, and no variable before the last one."""
    left = _COUNTED.sub("", formula.rpartition("=")[0])
    return re.search(r"[a-zA-Z]", left) is None and re.search(r"\d.*=", formula, re.DOTALL) is not None


def is_sum(value: str) -> bool:
    """Whether a unit behind `value` would bind its last term alone."""
    return "=" in value or re.search(r"[\w)}\s][-+](?![^{]*\})|\\pm", value) is not None


def _asked(name: str, question: str | None) -> bool:
    """Whether the question has `name` in it, white space and dollar signs aside."""
    bare = re.sub(r"[\s$]|\\(?:left|right|displaystyle|[,;!])", "", name)
    return bool(bare) and bare in re.sub(r"[\s$]|\\(?:left|right|displaystyle|[,;!])", "", question or "")


def only_a_name(text: str) -> bool:
    """Whether a formula is a letter or label that stands for something: $k$, $PQRS$, $h(t)$, $(x, y)$, ∠ABC."""
    bare = _SUBSCRIPT.sub("", text)
    if re.search(r"\d|\\frac|\\sqrt|[=<>+/^]|\\pi|\\infty|\\text|\\mathrm|\\mathbf|\\emptyset|\\varnothing", bare):
        return re.fullmatch(r"[A-Za-z]'?_\{?\d\}?(?:[A-Z]_\{?\d\}?)*|[a-zA-Z]\(\d\)", text) is not None
    node = tree(text)
    if node is None:
        return False
    if isinstance(node, Seq):
        return bool(node.items) and all(isinstance(item, Sym) for item in node.items)
    if isinstance(node, App):
        return node.op == "mul" and all(isinstance(part, Sym) and part.name.isupper() for part in node.args)
    return isinstance(node, (Sym, Words))
