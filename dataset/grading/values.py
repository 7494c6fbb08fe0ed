"""Whether two single values are equal: numbers as numbers first, then as expressions, then to many digits."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from mpmath import fp

from dataset.grading import exact, numeric, numeric_process, question_hints
from dataset.grading.tree import BINDING, App, Node, Num, Qty, Sym, children

FLOAT_DIGITS = 10  # a decimal of at least this many significant digits may be a float's print of an exact value …
FLOAT_ERROR = 1e-9  # … and is taken for it within this relative error


class Decided(NamedTuple):
    """A rule's verdict: right, wrong, or None for "cannot be decided"; and the rule's name."""

    correct: bool | None
    rule: str


def all_of(rule: str, decisions: Iterable[Decided]) -> Decided:
    """Right if all are, wrong if one is, else not decided."""
    answers = {decision.correct for decision in decisions}
    return Decided(False if False in answers else None if None in answers else True, rule)


def same_value(reference: Node, predicted: Node, question: str | None = None) -> Decided:
    """Whether two values without unit, list or relation in them are equal."""
    one, other = exact.rational(reference), exact.rational(predicted)
    if one is not None and other is not None:
        return _rationals(reference, predicted, one, other)
    if not (_is_value(reference) and _is_value(predicted)):
        return Decided(False, "another kind")
    if _infinite(reference) or _infinite(predicted):
        return Decided(reference == predicted, "infinity")
    if question_hints.factored(question) and _is_product(reference) and _is_sum(predicted):
        return Decided(False, "not factored")
    try:
        forms = exact.normal(reference), exact.normal(predicted)
    except exact.NoNormalForm:
        forms = None
    if forms is not None and forms[0] == forms[1]:
        return Decided(True, "expression")
    if printed_float(predicted) and _close(reference, predicted):
        return Decided(True, "float")
    if forms is not None and not any(exact.opaque(form) for form in forms):
        return Decided(False, "expression")
    if numeric.clearly_differ(reference, predicted):
        return Decided(False, "value")
    agreed = numeric_process.agree(reference, predicted)
    return Decided(agreed, "value" if agreed is not None else "too hard to compare")


def _rationals(reference: Node, predicted: Node, one: Fraction, other: Fraction) -> Decided:
    name = _kind(reference, predicted)
    if one == other:
        return Decided(True, name)
    if printed_float(predicted) and abs(one - other) <= Fraction(FLOAT_ERROR) * (abs(one) or 1):
        return Decided(True, "float")
    return Decided(False, name)


def _kind(reference: Node, predicted: Node) -> str:
    literals = [_literal(node) for node in (reference, predicted)]
    if all(literal is not None and literal.places == 0 for literal in literals):
        return "integer"
    if any(literal is not None and literal.places > 0 for literal in literals):
        return "decimal"
    return "fraction"


def _literal(node: Node) -> Num | None:
    """The number that was written, its sign aside; None if `node` is more than that."""
    if isinstance(node, App) and node.op == "neg":
        return _literal(node.args[0])
    return node if isinstance(node, Num) else None


def printed_float(node: Node) -> bool:
    """Whether a number in `node` looks printed from a float, so that its last digits are noise."""
    if isinstance(node, Num):
        return node.places > 0 and node.digits >= FLOAT_DIGITS
    return any(printed_float(child) for child in children(node))


def _close(reference: Node, predicted: Node) -> bool:
    try:
        left, right = (complex(numeric.evaluate(node, {}, fp, [1e-300])) for node in (reference, predicted))
    except (numeric.NoValue, ArithmeticError, ValueError, TypeError, KeyError):
        return False
    return abs(left - right) <= FLOAT_ERROR * max(abs(left), 1e-6)


def _is_value(node: Node) -> bool:
    """A number or an expression; percent is one, other units are not."""
    if isinstance(node, Qty):
        return node.unit == "%" and _is_value(node.value)
    return isinstance(node, (Num, Sym)) or (isinstance(node, App) and all(_is_value(part) for part in node.args))


def _infinite(node: Node) -> bool:
    parts = () if isinstance(node, App) and node.op in BINDING else children(node)
    return Sym("oo") in (node, *parts)


def _is_product(node: Node) -> bool:
    if isinstance(node, App) and node.op == "neg":
        return _is_product(node.args[0])
    return isinstance(node, App) and node.op in ("mul", "pow")


def _is_sum(node: Node) -> bool:
    return isinstance(node, App) and node.op == "add"
