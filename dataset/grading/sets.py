"""Sets of real numbers: intervals, unions, inequalities, "all reals but 5", brought to one form and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from mpmath import fp

from dataset.grading import exact, numeric
from dataset.grading.tree import App, Many, Node, Num, Rel, Seq, Sym, put, variables

INFINITE = Sym("oo")
MINUS_INFINITE = App("neg", (INFINITE,))
MAX_PIECES = 40


@dataclass(frozen=True, slots=True)
class Piece:
    """An interval; `low` and `high` order the ends in floats, the nodes say exactly what they are."""

    low: float
    low_node: Node
    low_closed: bool
    high: float
    high_node: Node
    high_closed: bool


def is_set(node: Node) -> bool:
    """Whether `node` can only be a set of reals: a union, an infinite end, unlike brackets, an inequality, ∈."""
    if isinstance(node, App):
        return node.op in ("union", "intersection", "difference")
    if isinstance(node, Seq) and len(node.items) == 2 and node.open in "([":
        ends = (Sym("oo"), MINUS_INFINITE)
        return {"(": ")", "[": "]"}[node.open] != node.close or any(item in ends for item in node.items)
    if isinstance(node, Rel):
        return _is_membership(node) or all(op in ("<", ">", "<=", ">=", "!=") for op in node.ops)
    if isinstance(node, Many):
        return any(isinstance(item, Rel) and is_set(item) for item in node.items)
    if isinstance(node, Seq) and node.open == "{" and len(node.items) == 1:  # {x | x > 3}
        return isinstance(node.items[0], Rel) and is_set(node.items[0])
    return node == Sym("RR")


def _is_membership(node: Rel) -> bool:
    """x ∈ …, or x = … ∈ … ."""
    return node.ops[-1] == "in" and set(node.ops[:-1]) <= {"="}


def pieces(node: Node) -> list[Piece] | None:
    """`node` as disjoint intervals in ascending order; None if it is no set of reals that is understood here."""
    found = _pieces(node)
    return None if found is None or len(found) > MAX_PIECES else _merge(found)


def same(one: list[Piece], other: list[Piece], equal: Callable[[Node, Node], bool | None]) -> bool | None:
    """Whether two sets are the same; `equal` compares ends."""
    if len(one) != len(other):
        return False
    answers: list[bool | None] = []
    for a, b in zip(one, other, strict=True):
        if (a.low_closed, a.high_closed) != (b.low_closed, b.high_closed):
            return False
        answers += [_same_end(a.low_node, b.low_node, equal), _same_end(a.high_node, b.high_node, equal)]
    return False if False in answers else None if None in answers else True


def _same_end(one: Node, other: Node, equal: Callable[[Node, Node], bool | None]) -> bool | None:
    infinite = (INFINITE, MINUS_INFINITE)
    if one in infinite or other in infinite:
        return one == other
    return equal(one, other)


def real(node: Node) -> float | None:
    """The value of `node` in floats, infinite ones too; None if it is not one real number."""
    if node == INFINITE:
        return float("inf")
    if node == MINUS_INFINITE:
        return float("-inf")
    if variables(node):
        return None
    value = exact.rational(node)
    try:
        if value is not None:
            return float(value)
        found = complex(numeric.evaluate(node, {}, fp, [1e-300]))
    except (numeric.NoValue, ArithmeticError, ValueError, TypeError):
        return None
    return found.real if abs(found.imag) < 1e-12 else None


def _pieces(node: Node) -> list[Piece] | None:
    if isinstance(node, Rel):
        return _relation(node)
    if isinstance(node, Many):
        return _several(node)
    if isinstance(node, Seq):
        return _brackets(node)
    if isinstance(node, App) and node.op in ("union", "intersection", "difference"):
        left, right = _pieces(node.args[0]), _pieces(node.args[1])
        if left is None or right is None or len(left) + len(right) > MAX_PIECES:
            return None
        if node.op == "union":
            return left + right
        return _intersect(left, right if node.op == "intersection" else _complement(right))
    if node in (Sym("RR"), Sym("R")):
        return [_piece(MINUS_INFINITE, False, INFINITE, False)]
    return None


def _piece(low: Node, low_closed: bool, high: Node, high_closed: bool) -> Piece:
    first, second = real(low), real(high)
    assert first is not None
    assert second is not None
    return Piece(first, low, low_closed, second, high, high_closed)


def _interval(low: Node, low_closed: bool, high: Node, high_closed: bool) -> list[Piece] | None:
    first, second = real(low), real(high)
    if first is None or second is None or first > second:
        return None
    if first == second and not (low_closed and high_closed):
        return []
    return [
        Piece(first, low, low_closed and first > float("-inf"), second, high, high_closed and second < float("inf"))
    ]


def _brackets(node: Seq) -> list[Piece] | None:
    if node.open == "{":
        found: list[Piece] = []
        if len(node.items) == 1 and isinstance(node.items[0], (Rel, Many)) and is_set(node.items[0]):
            return _pieces(node.items[0])
        for item in node.items:
            point = _interval(item, True, item, True)
            if point is None:
                return None
            found += point
        return found
    if node.items and all(isinstance(item, Rel) for item in node.items):  # sympy's (-oo < x) & (x < 1), in brackets
        return _several(Many(node.items, "and"))
    if len(node.items) != 2:
        return None
    return _interval(node.items[0], node.open == "[", node.items[1], node.close == "]")


def _several(node: Many) -> list[Piece] | None:
    parts = [_pieces(item) for item in node.items]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    joined = [piece for part in known for piece in part]
    everything = (
        len(merged := _merge(joined)) == 1 and merged[0].low_node == MINUS_INFINITE and merged[0].high_node == INFINITE
    )
    # "x > 2, x < 5" means both; "x < 2, x > 5" can only mean either.
    if node.joint == "and" or (node.joint == "," and everything):
        result = known[0]
        for part in known[1:]:
            result = _intersect(result, part)
        return result
    return joined


def _relation(node: Rel) -> list[Piece] | None:
    if _is_membership(node):
        return _pieces(node.sides[-1])
    found: list[Piece] | None = [_piece(MINUS_INFINITE, False, INFINITE, False)]
    name: Node | None = None
    if isinstance(node.sides[0], App) and node.sides[0].op == "abs" and len(node.ops) == 1:
        return _distance(node.sides[0].args[0], node.ops[0], node.sides[1])
    for op, left, right in zip(node.ops, node.sides, node.sides[1:], strict=False):
        solved = _solved(op, left, right)
        if solved is None or (name is not None and solved[1] != name):
            return None
        op, name, end = solved
        part = _half_line(op, end)
        if part is None or found is None:
            return None
        found = _intersect(found, part)
    return found


def _distance(inside: Node, op: str, end: Node) -> list[Piece] | None:
    """|inside| < end as -end < inside < end, and |inside| > end as either side of that."""
    size = real(end)
    if op not in TURNED or size is None or size <= 0:
        return None
    low, high = Rel((TURNED[op],), (inside, App("neg", (end,)))), Rel((op,), (inside, end))
    return _several(Many((low, high), "and" if op in ("<", "<=") else "or"))


TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _solved(op: str, left: Node, right: Node) -> tuple[str, Node, Node] | None:
    """A linear inequality in one letter as (sign, letter, end): 3 - 2x > 7 is x < -2; None for any other."""
    for side, end, sign in ((left, right, op), (right, left, TURNED.get(op, op))):
        if isinstance(side, Sym) and variables(side) and not variables(end):
            return sign, side, end
    names = variables(left) | variables(right)
    if len(names) != 1:
        return None
    (name,) = names
    try:
        difference = exact.normal(App("add", (left, App("neg", (right,)))))
    except exact.NoNormalForm:
        return None
    factor = difference.pop(((name, Fraction(1)),), None)
    if not factor or any(name in part for monomial in difference for part, _ in monomial):
        return _by_root(op, left, right, name)
    zero = Num(Fraction(0))
    constant = App("add", (put(right, name, zero), App("neg", (put(left, name, zero),))))
    return op if factor > 0 else TURNED.get(op, op), Sym(name), App("div", (constant, Num(factor)))


def _by_root(op: str, left: Node, right: Node, name: str) -> tuple[str, Node, Node] | None:
    """As `_solved`, where the letter's factor is irrational: √2 x < 2."""
    zero, one, two = (Num(Fraction(value)) for value in range(3))
    at = [App("add", (put(left, name, x), App("neg", (put(right, name, x),)))) for x in (zero, one, two)]
    factor = App("add", (at[1], App("neg", (at[0],))))
    bend = App("add", (at[2], App("neg", (at[1],)), App("neg", (factor,))))
    size = real(factor)
    if exact.rational(bend) != 0 or size is None or abs(size) < 1e-9 or abs(size) == float("inf"):
        return None
    end = App("neg", (App("div", (at[0], factor)),))
    return op if size > 0 else TURNED.get(op, op), Sym(name), end


def _half_line(op: str, end: Node) -> list[Piece] | None:
    if real(end) is None:
        return None
    if op == "!=":
        point = _interval(end, True, end, True)
        return None if point is None else _complement(point)
    if op in ("<", "<="):
        return _interval(MINUS_INFINITE, False, end, op == "<=")
    if op in (">", ">="):
        return _interval(end, op == ">=", INFINITE, False)
    return _interval(end, True, end, True) if op == "=" else None


def _merge(found: list[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in sorted(found, key=lambda piece: (piece.low, not piece.low_closed)):
        if merged:
            last = merged[-1]
            touching = piece.low < last.high or (piece.low == last.high and (piece.low_closed or last.high_closed))
            if touching:
                if (piece.high, piece.high_closed) > (last.high, last.high_closed):
                    merged[-1] = replace(
                        last, high=piece.high, high_node=piece.high_node, high_closed=piece.high_closed
                    )
                continue
        merged.append(piece)
    return merged


def _intersect(one: list[Piece], other: list[Piece]) -> list[Piece]:
    found = []
    for a in one:
        for b in other:
            low = max((a, b), key=lambda piece: (piece.low, not piece.low_closed))
            high = min((a, b), key=lambda piece: (piece.high, piece.high_closed))
            if low.low < high.high or (low.low == high.high and low.low_closed and high.high_closed):
                found.append(replace(
                    low, high=high.high, high_node=high.high_node, high_closed=high.high_closed
                ))  # fmt: skip
    return found


def _complement(found: list[Piece]) -> list[Piece]:
    result: list[Piece] = []
    low: Node = MINUS_INFINITE
    closed = False
    for piece in _merge(found):
        if piece.low > float("-inf"):
            result += _interval(low, closed, piece.low_node, not piece.low_closed) or []
        low, closed = piece.high_node, not piece.high_closed
        if piece.high == float("inf"):
            return result
    return [*result, _piece(low, closed, INFINITE, False)]
