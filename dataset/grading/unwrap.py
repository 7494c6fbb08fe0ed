"""The same answer with more or less written around it: names before an equals sign, brackets around one thing, ±."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from dataset.grading import units
from dataset.grading.tree import App, Many, Node, Num, Qty, Rel, Seq, Sym, Words, contains, variables

_PAIRS = {"[": "]", "{": "}", "(": ")"}


def settled(node: Node) -> Node:
    """`node` with signs inside units, degrees as a unit, compound quantities summed, ± written out."""
    if isinstance(node, App) and node.op == "neg":
        inner = settled(node.args[0])
        return Qty(App("neg", (inner.value,)), inner.unit) if isinstance(inner, Qty) else node
    if isinstance(node, App) and node.op == "deg":
        return Qty(node.args[0], "deg")
    if isinstance(node, App) and node.op == "add":
        parts = [settled(part) for part in node.args]
        if all(isinstance(part, Qty) for part in parts):
            return _compound(parts) or node
    if isinstance(node, App) and node.op == "mul":
        first, rest = node.args[0], node.args[1:]
        if isinstance(first, Qty) and all(isinstance(part, Num) for part in rest):  # "$1.2 million"
            return Qty(App("mul", (first.value, *rest)), first.unit)
    if isinstance(node, Many) and node.joint == "and" and all(isinstance(item, Qty) for item in node.items):
        return _compound(list(node.items)) or node
    if isinstance(node, Qty) and isinstance(node.value, Qty) and node.value.unit == "%":
        return node.value
    signs = written_out(node)
    return node if len(signs) == 1 else Many(tuple(signs), "or")


def _compound(parts: list[Node]) -> Qty | None:
    """2 hours 30 minutes as hours; None unless each unit is smaller than the one before."""
    quantities = [part for part in parts if isinstance(part, Qty)]
    dimension = next((scale[0] for part in quantities if (scale := units.scale(part.unit)) is not None), None)
    known = [scale for part in quantities if (scale := units.scale_beside(part.unit, dimension)) is not None]
    one_dimension = len({dimension for dimension, _ in known}) == 1
    if len(known) != len(parts) or not one_dimension or any(a <= b for (_, a), (_, b) in pairwise(known)):
        return None
    largest = known[0][1]
    terms = [
        App("mul", (part.value, Num(scale / largest))) for part, (_, scale) in zip(quantities, known, strict=True)
    ]  # fmt: skip
    return Qty(App("add", tuple(terms)), quantities[0].unit)


def written_out(node: Node) -> list[Node]:
    """Both values of a ±, or `node` alone. All ± of one expression have the same sign together."""
    if not isinstance(node, (App, Rel)) or not _has_sign(node):
        return [node]
    return [_with_sign(node, plus=True), _with_sign(node, plus=False)]


def _has_sign(node: Node) -> bool:
    if isinstance(node, App):
        return node.op == "pm" or any(_has_sign(argument) for argument in node.args)
    return isinstance(node, Rel) and any(_has_sign(side) for side in node.sides)


def _with_sign(node: Node, *, plus: bool) -> Node:
    if isinstance(node, Rel):
        return Rel(node.ops, tuple(_with_sign(side, plus=plus) for side in node.sides))
    if not isinstance(node, App):
        return node
    args = tuple(_with_sign(argument, plus=plus) for argument in node.args)
    if node.op != "pm":
        return App(node.op, args)
    second = args[1] if plus else App("neg", (args[1],))
    return second if args[0] == Num(Fraction(0)) else App("add", (args[0], second))


def unnamed(node: Node) -> Node:
    """The value that a name is given: 5 of "x = 5", "f(3) = 5", "the total = 5", "2 + 3 = 5"; else `node`.

    What stands before the last equals sign must be a name or have no variable: x² + y² = 13 gives nothing a value.
    """
    if not isinstance(node, Rel) or set(node.ops) != {"="}:
        return node
    *names, value = node.sides
    if len(names) == 1 and isinstance(value, Sym) and isinstance(names[0], Num):
        return names[0]  # "5 = x"
    return value if all(is_name(name) for name in names) else node


def is_name(node: Node) -> bool:
    """A letter, a label, (x, y), or a computation that has no variable in it."""
    if isinstance(node, (Sym, Words)):
        return True
    if isinstance(node, Seq):
        return all(isinstance(item, Sym) for item in node.items)
    if isinstance(node, App) and node.op in ("mul", "abs") and contains(node, Words):
        return all(isinstance(part, (Sym, Words)) for part in node.args)
    return not (variables(node) or contains(node, (Rel, Many, Seq)))


def alone(node: Node) -> Node:
    """The one thing in a list, set or tuple of one."""
    while isinstance(node, Seq) and len(node.items) == 1 and _PAIRS[node.open] == node.close:
        node = node.items[0]
    return node


def half_open(node: Node) -> bool:
    """Whether it is [a, b) or (a, b], which only an interval can be."""
    return isinstance(node, Seq) and _PAIRS[node.open] != node.close


def values_by_name(node: Node) -> dict[str, Node] | None:
    """What each letter is in "x = 1, y = 2"; None where that is not all there is, or where one has two values."""
    items = node.items if isinstance(node, (Many, Seq)) else ()
    named = {item.sides[0].name: item.sides[1] for item in items
             if isinstance(item, Rel) and item.ops == ("=",) and isinstance(item.sides[0], Sym)}  # fmt: skip
    return named if len(named) == len(items) > 1 else None


def members(node: Node) -> list[Node]:
    """What a list or set has in it, with or without brackets; "x = 1, 2" and "x = 1, x = 2" have 1 and 2 in them."""
    if isinstance(node, Seq) and len(node.items) == 1 and isinstance(node.items[0], (Seq, Many)):
        return members(node.items[0])
    items = node.items if isinstance(node, (Many, Seq)) else (node,)
    return [unnamed(signed) for item in items for signed in written_out(item)]
