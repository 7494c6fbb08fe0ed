"""The rules for values with entries in places: functions by cases, matrices, vectors, tuples."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from dataset.grading import piecewise, question_hints, sets
from dataset.grading.quantities import Asking
from dataset.grading.tree import App, Cases, Many, Mat, Node, Num, Seq, contains
from dataset.grading.unwrap import alone, unit_vectors, values_by_name
from dataset.grading.values import Decided, all_of


def cases(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Functions by cases, whatever their order and however the line is cut."""
    if not isinstance(reference, Cases):
        return None
    if not isinstance(predicted, Cases):
        return Decided(False, "cases")
    return Decided(piecewise.same(reference, predicted, lambda a, b: asking.same(a, b).correct), "cases")


def vector(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """3i + 4j for (3, 4) and (3, 4) for 3i + 4j."""
    ours, theirs = (node if isinstance(node, (Mat, Seq)) else unit_vectors(node) for node in (reference, predicted))
    if ours is None or theirs is None or (ours is reference and theirs is predicted):
        return None
    if ours is not reference and theirs is not predicted:
        return None  # two sums are compared as sums
    lengths = [
        len(node.items) if isinstance(node, Seq) else len(node.rows) * len(node.rows[0]) for node in (ours, theirs)
    ]
    entries = [_entries(node)[: max(lengths)] for node in (ours, theirs)]
    if set(lengths) not in ({2}, {3}) and sorted(lengths) != [2, 3]:
        return Decided(False, "vector")
    zero = Num(Fraction(0))
    padded = [[*row, zero][:3] if len(row) == 2 else row for row in entries]
    return all_of("vector", [asking.same(a, b) for a, b in zip(*padded, strict=True)])


def _entries(node: Node) -> list[Node]:
    if isinstance(node, Seq):
        return list(node.items)
    assert isinstance(node, Mat)
    return [entry for row in node.rows for entry in row]


def matrix(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Entry by entry. A vector may be written down, across, or as a tuple."""
    rows, other = _multiplied(reference), _multiplied(predicted) or _rows(predicted)
    if rows is None:
        return None
    if other is None:
        return Decided(False, "matrix")
    if 1 in (len(rows), len(rows[0])) and 1 in (len(other), len(other[0])):
        rows = (tuple(entry for row in rows for entry in row),)
        other = (tuple(entry for row in other for entry in row),)
    if (len(rows), len(rows[0])) != (len(other), len(other[0])):
        return Decided(False, "matrix")
    pairs = [pair for row, line in zip(rows, other, strict=True) for pair in zip(row, line, strict=True)]
    return all_of("matrix", [asking.same(a, b) for a, b in pairs])


def _multiplied(node: Node) -> tuple[tuple[Node, ...], ...] | None:
    """The rows of a matrix with the number before it multiplied in; None for what is neither."""
    if isinstance(node, Mat):
        return node.rows
    if (
        not isinstance(node, App)
        or node.op not in ("neg", "mul", "div")
        or isinstance(node.args[-1], Mat) == (node.op == "div")
    ):
        return None
    place = 0 if node.op == "div" else len(node.args) - 1
    rows = _multiplied(node.args[place])
    if rows is None or any(contains(part, (Mat, Seq, Many)) for at, part in enumerate(node.args) if at != place):
        return None
    return tuple(
        tuple(App(node.op, (*node.args[:place], entry, *node.args[place + 1 :])) for entry in row) for row in rows
    )


def _rows(node: Node) -> tuple[tuple[Node, ...], ...] | None:
    if isinstance(node, Mat):
        return node.rows
    if not isinstance(node, Seq) or node.open == "{" or not node.items:
        return None
    rows = [item.items for item in node.items if isinstance(item, Seq) and item.open != "{"]
    if not rows:
        return (node.items,)
    alike = len(rows) == len(node.items) and len({len(row) for row in rows}) == 1 and rows[0]
    return tuple(rows) if alike else None


def coordinates(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Coordinates in their order."""
    if not isinstance(reference, Seq):
        return None
    other = _coordinates(reference, alone(predicted), asking.question)
    if other is None or len(other) != len(reference.items):
        return Decided(False, "tuple")
    return all_of("tuple", [asking.same(a, b) for a, b in zip(reference.items, other, strict=True)])


def _coordinates(reference: Seq, predicted: Node, question: str | None) -> Sequence[Node] | None:
    """The predicted coordinates: of a tuple, a bare list, a vector, or "x = 1, y = 2"."""
    if isinstance(predicted, Mat):
        vector = 1 in (len(predicted.rows), len(predicted.rows[0]))
        return [entry for row in predicted.rows for entry in row] if vector else None
    if not isinstance(predicted, (Seq, Many)):
        return None
    items = predicted.items
    if (named := values_by_name(predicted)) is not None:
        return [named[name] for name in sorted(named)]
    if isinstance(predicted, Seq) and (predicted.open, predicted.close) != (reference.open, reference.close):
        return items if _only_a_tuple(reference, predicted, question) else None
    return items


def _only_a_tuple(reference: Seq, predicted: Seq, question: str | None) -> bool:
    """Whether neither can be an interval, so that "[2, 3]" may be Python's way to write (2, 3)."""
    if (predicted.open, predicted.close) not in (("[", "]"), ("(", ")")):
        return False
    if len(reference.items) != 2 or (question_hints.point(question) and not question_hints.interval(question)):
        return True
    ends = [sets.real(item) for item in reference.items]
    return ends[0] is None or ends[1] is None or ends[0] >= ends[1]
