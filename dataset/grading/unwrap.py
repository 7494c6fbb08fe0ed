"""The same answer with more or less written around it: names before an equals sign, brackets around one thing, ±.

A chain "x = 2/6 = 1/3 ≈ 0.33" states what its first name is, by its last exact value; what stands behind ≈ is a
rounded form of it.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from dataset.grading import sets, units
from dataset.grading.tree import App, Many, Mat, Node, Num, Qty, Rel, Seq, Sym, Words, contains, variables

# Two sides of an equals sign that are further apart than this, of their size, contradict each other.
_CONTRADICTION = 0.01
_ROUGHLY = 0.05  # of its size, which an approximation may be off
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
    if isinstance(node, Rel):
        node = chain(node)
    if isinstance(node, Many) and (tuples := named_tuples(node)) is not None:
        return tuples
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
    found = chain(node)
    found = node if found == node else found  # so that callers see that nothing was taken off
    if not isinstance(found, Rel) or set(found.ops) != {"="}:
        return found
    *names, value = found.sides
    if len(names) == 1 and isinstance(value, Sym) and isinstance(names[0], Num):
        return names[0]  # "5 = x"
    if isinstance(value, Mat) and len(names) == 1 and _is_power_of_matrix(names[0]):
        return value
    letter = isinstance(names[-1], Sym) and names[-1].name in ("e", "i")  # here no constants: e = 121
    if not all(is_name(name) for name in names) or (not letter and _contradict(names[-1], value)):
        return found
    computed = not (variables(names[0]) or contains(names[0], Words))
    return found if computed and variables(value) else value  # 7 = 11a + c gives nothing a value


def _is_power_of_matrix(node: Node) -> bool:
    r"""A^{-1}, A^2."""
    return isinstance(node, App) and node.op == "pow" and isinstance(node.args[0], Sym) and node.args[0].name.isupper()


def chain(node: Node) -> Node:
    """A chain of equations as first name = last exact value; 1/3 of "1/3 ≈ 0.333"; anything else as it is."""
    if not isinstance(node, Rel) or not set(node.ops) <= {"=", "≈"}:
        return node
    exact = node.ops.index("≈") if "≈" in node.ops else len(node.ops)
    if exact == 0 and isinstance(node.sides[0], (Sym, Words, Seq)):  # x ≈ 3.14 has no exact value
        exact = len(node.ops)
    sides, near = node.sides[: exact + 1], node.sides[exact + 1 :]
    if any(_far(sides[-1], side) for side in near):
        return node
    if len(sides) == 1:
        return sides[0]
    first, *between, last = sides
    if between and not any(isinstance(side, (Sym, Words)) for side in between) and not _contradict(between[-1], last):
        return Rel(("=",), (first, last))
    return Rel(("=",) * (len(sides) - 1), sides)


def rounded(node: Node) -> list[Node]:
    """What stands behind the first ≈ of a chain and is a rounded form of what stands before it."""
    value = chain(node)
    if not isinstance(node, Rel) or "≈" not in node.ops or value is node:
        return []
    exact = sets.real(value.sides[-1] if isinstance(value, Rel) else value)
    found: list[Node] = []
    for side in node.sides[node.ops.index("≈") + 1 :]:
        near = sets.real(side)
        if isinstance(side, Num) and None not in (exact, near) and abs(exact - near) <= _half_unit(side):  # type: ignore[operator]
            found.append(side)
    return found


def _far(exact: Node, near: Node) -> bool:
    """Whether what stands behind ≈ is no rounded form of what stands before it."""
    left, right = sets.real(exact), sets.real(near)
    if left is None or right is None:
        return False
    return not abs(left - right) <= max(_ROUGHLY * abs(left), _half_unit(near) if isinstance(near, Num) else 0)


def _half_unit(number: Num) -> float:
    """Half a unit of the last place that was written, as rounding leaves it; a little more for floats' sake."""
    last = -number.places
    if not number.places and number.value:
        digits = str(abs(number.value.numerator))
        last = len(digits) - len(digits.rstrip("0"))
    return 0.5000001 * 10.0 ** min(last, 300)


def _contradict(one: Node, other: Node) -> bool:
    """Whether two sides are numbers that are not even nearly equal."""
    left, right = sets.real(one), sets.real(other)
    if left is None or right is None:
        return False
    return not abs(left - right) <= _CONTRADICTION * max(abs(left), abs(right))


def is_name(node: Node) -> bool:
    """A letter, a label, (x, y), or a computation that has no variable in it."""
    if isinstance(node, (Sym, Words)):
        return True
    if isinstance(node, Seq):
        return all(isinstance(item, Sym) for item in node.items)
    if isinstance(node, App) and node.op == "ratio":
        return all(isinstance(part, (Sym, Words)) for part in node.args)
    if isinstance(node, App) and node.op == "div" and variables(node):
        return all(_is_label(part) for part in node.args)  # S_1 / S_2
    if isinstance(node, App) and node.op in ("mul", "abs") and contains(node, Words):
        return all(isinstance(part, (Sym, Words)) for part in node.args)
    return not (variables(node) or contains(node, (Rel, Many, Seq)))


def _is_label(node: Node) -> bool:
    """A segment, an area: a name with a capital letter or a subscript, which no variable of a curve has."""
    if isinstance(node, App) and node.op == "mul":
        return all(_is_label(part) for part in node.args)
    return isinstance(node, Words) or (isinstance(node, Sym) and (node.name[0].isupper() or "_" in node.name))


def named_tuples(node: Many) -> Many | None:
    """p = 5, q = 2; p = 7, q = 2 as the pairs (5, 2), (7, 2), by the names' order; None for anything else."""
    groups: list[list[Node]] = [list(item.items) for item in node.items if isinstance(item, Many)]
    if len(groups) != len(node.items):
        groups = _cycles(node.items)
    if len(groups) < 2:
        return None
    found = []
    for group in groups:
        named = values_by_name(Many(tuple(group)))
        if named is None:
            return None
        plain = {name.partition("_")[0]: value for name, value in named.items()}
        found.append((sorted(plain), tuple(plain[name] for name in sorted(plain))))
    if any(names != found[0][0] for names, _ in found):
        return None
    return Many(tuple(Seq("(", values, ")") for _, values in found), node.joint)


def _cycles(items: tuple[Node, ...]) -> list[list[Node]]:
    """Equations cut where the first one's name comes again, subscripts aside; empty where not all are equations."""
    names = [item.sides[0].name.partition("_")[0] for item in items
             if isinstance(item, Rel) and item.ops == ("=",) and isinstance(item.sides[0], Sym)]  # fmt: skip
    if len(names) != len(items):
        return []
    period = names.index(names[0], 1) if names[0] in names[1:] else len(names)
    if period < 2 or len(names) % period or names != names[:period] * (len(names) // period):
        return []
    return [list(items[at : at + period]) for at in range(0, len(items), period)]


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
    if isinstance(node, Mat) and 1 in (len(node.rows), len(node.rows[0])):  # numpy's array([2., 3.])
        return [entry for row in node.rows for entry in row]
    items = node.items if isinstance(node, (Many, Seq)) else (node,)
    return [unnamed(signed) for item in items for signed in written_out(item)]


def unit_vectors(node: Node) -> Seq | None:
    """The components of 3i + 4j - k; None where `node` is no such sum: i without j or k is the imaginary unit."""
    names = ("i", "j", "k")
    if not {"j", "k"} & variables(node) or variables(node) - {"j", "k"}:
        return None
    terms = node.args if isinstance(node, App) and node.op == "add" else (node,)
    found: dict[str, list[Node]] = {name: [] for name in names}
    for term in terms:
        sign, bare = (-1, term.args[0]) if isinstance(term, App) and term.op == "neg" else (1, term)
        factors = bare.args if isinstance(bare, App) and bare.op == "mul" else (bare,)
        units_there = [factor for factor in factors if isinstance(factor, Sym) and factor.name in names]
        if len(units_there) != 1 or any(contains(f, Sym) and f is not units_there[0] and variables(f) for f in factors):
            return None
        rest = tuple(factor for factor in factors if factor is not units_there[0])
        found[units_there[0].name].append(App("mul", (Num(Fraction(sign)), *rest)))
    count = 3 if found["k"] else 2
    zero = Num(Fraction(0))
    return Seq("(", tuple(App("add", (zero, *found[name])) for name in names[:count]), ")")
