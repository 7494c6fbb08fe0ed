"""Functions by cases: the same function is the same answer, whatever the order and however its cases are cut.

Compared piece by piece of the line: every end of a case is a point, and between two ends there is one case on each
side; the expressions there must be the same. A case without a condition ("otherwise") holds where no other does.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from dataset.grading import sets
from dataset.grading.tree import Cases, Node, Rel, Sym, Words, put, variables

MAX_CASES = 12


def from_rows(rows: list[tuple[Node, ...]]) -> Cases | None:
    """Rows of a value and a condition; None where they are no cases but a matrix or a list."""
    if len(rows) > MAX_CASES or not all(len(row) == 2 for row in rows):
        return None
    conditions = [condition for _, condition in rows]
    if not all(sets.is_set(c) or (isinstance(c, Rel) and c.ops == ("=",)) or isinstance(c, Words) for c in conditions):
        return None
    return Cases(tuple((value, condition) for value, condition in rows))


def same(one: Cases, other: Cases, equal: Callable[[Node, Node], bool | None]) -> bool | None:
    """Whether two functions by cases are equal; None where a condition is not understood."""
    ours, theirs = _pieces(one), _pieces(other)
    if ours is None or theirs is None:
        return _same_by_text(one, other, equal)
    names = {name for cases in (one, other) for _, condition in cases.rows for name in variables(condition)}
    if len(names) != 1:
        return None
    name = names.pop()
    ends: dict[float, Node] = {}
    for pieces, _ in (*ours, *theirs):
        for piece in pieces:
            ends.update({piece.low: piece.low_node, piece.high: piece.high_node})
    finite = sorted(end for end in ends if abs(end) != float("inf"))
    answers: list[bool | None] = []
    for end in finite:
        first, second = (_at(pieces, end) for pieces in (ours, theirs))
        point = ends[end]
        answers.append(_same_value(first, second, lambda a, b, p=point: equal(put(a, name, p), put(b, name, p))))  # type: ignore[misc]
    between = [finite[0] - 1, *((a + b) / 2 for a, b in pairwise(finite)), finite[-1] + 1] if finite else [0.0]
    whole = name in ("n", "k", "m")  # n = 1 and n ≥ 2, or n > 1, leave nothing out for whole numbers
    for point_between in between:
        first, second = (_at(pieces, point_between) for pieces in (ours, theirs))
        if whole and (first is None) != (second is None):
            continue
        answers.append(_same_value(first, second, equal))
    return False if False in answers else None if None in answers else True


Pieces = list[tuple[list[sets.Piece], Node]]


def _pieces(cases: Cases) -> Pieces | None:
    """Where each case holds, in order; "otherwise" holds everywhere, behind the others."""
    found: Pieces = []
    rest: Pieces = []
    for value, condition in cases.rows:
        if isinstance(condition, Words):
            rest.append((sets.pieces(Sym("RR")) or [], value))
            continue
        pieces = sets.pieces(condition)
        if pieces is None:
            return None
        found.append((pieces, value))
    return [*found, *rest] if len(rest) < 2 else None


def _at(pieces: Pieces, point: float) -> Node | None:
    """The expression of the first case that holds at `point`."""
    for where, value in pieces:
        for piece in where:
            above = point > piece.low or (point == piece.low and piece.low_closed)
            below = point < piece.high or (point == piece.high and piece.high_closed)
            if above and below:
                return value
    return None


def _same_value(one: Node | None, other: Node | None, equal: Callable[[Node, Node], bool | None]) -> bool | None:
    return one is other if one is None or other is None else equal(one, other)


def _same_by_text(one: Cases, other: Cases, equal: Callable[[Node, Node], bool | None]) -> bool | None:
    """Row by row in their order, where the conditions are no sets of numbers."""
    if len(one.rows) != len(other.rows):
        return None
    pairs = zip(one.rows, other.rows, strict=True)
    answers = [part for (a, c), (b, d) in pairs for part in (equal(a, b), equal(c, d))]
    return True if all(answers) else None
