"""The rules by which two trees are the same answer, in the order in which they are asked.

`RULES` is the table: each rule looks at the kind of the reference, says right, wrong or "cannot be decided", or leaves
the pair to the next one. What a rule calls itself is what the verdict carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

from dataset.grading import asked, exact, sets, units
from dataset.grading.tree import App, Based, Many, Mat, Node, Num, Qty, Rel, Seq, Sym, Words, contains, variables
from dataset.grading.values import Decided, same_value

MAX_LIST = 60  # items that are matched in any order; longer lists must come in the reference's
_EQUAL = ("=",)


def compare(reference: Node, predicted: Node, question: str | None = None) -> Decided:
    """Whether `predicted` is the answer `reference`."""
    one, other = _settled(reference), _settled(predicted)
    for rule in RULES:
        decided = rule(one, other, question)
        if decided is not None:
            return decided
    return Decided(False, "another kind")


def _all(name: str, decisions: Sequence[Decided]) -> Decided:
    answers = [decision.correct for decision in decisions]
    return Decided(False if False in answers else None if None in answers else True, name)


# -- the same thing written with more around it --------------------------------------------------------------------


def _settled(node: Node) -> Node:
    """`node` with signs inside units, degrees as a unit, compound quantities summed, ± written out."""
    if isinstance(node, App) and node.op == "neg":
        inner = _settled(node.args[0])
        if isinstance(inner, Qty):
            return Qty(App("neg", (inner.value,)), inner.unit)
        return node
    if isinstance(node, App) and node.op == "deg":
        return Qty(node.args[0], "deg")
    if isinstance(node, App) and node.op == "add" and all(isinstance(_settled(part), Qty) for part in node.args):
        return _compound([_settled(part) for part in node.args]) or node
    if isinstance(node, Many) and node.joint == "and" and all(isinstance(item, Qty) for item in node.items):
        return _compound(list(node.items)) or node
    if isinstance(node, Qty) and isinstance(node.value, Qty) and node.value.unit == "%":
        return node.value
    signs = _written_out(node)
    return node if len(signs) == 1 else Many(tuple(signs), "or")


def _compound(parts: list[Node]) -> Qty | None:
    """2 hours 30 minutes as hours; None unless each unit is smaller than the one before."""
    quantities = [part for part in parts if isinstance(part, Qty)]
    known = [units.scale(part.unit) for part in quantities]
    scales = [item[1] for item in known if item is not None]
    same = len({item[0] for item in known if item is not None}) == 1
    if len(scales) != len(parts) or not same or any(a <= b for a, b in pairwise(scales)):
        return None
    terms = [
        App("mul", (part.value, Num(scale / scales[0]))) for part, scale in zip(quantities, scales, strict=True)
    ]  # fmt: skip
    return Qty(App("add", tuple(terms)), quantities[0].unit)


def _written_out(node: Node) -> list[Node]:
    """Both values of a ±, or `node` alone. All ± of one expression have the same sign together."""
    if not isinstance(node, (App, Rel)) or not _has_sign(node):
        return [node]
    return [_with_sign(node, "add"), _with_sign(node, "sub")]


def _has_sign(node: Node) -> bool:
    if isinstance(node, App):
        return node.op == "pm" or any(_has_sign(argument) for argument in node.args)
    return isinstance(node, Rel) and any(_has_sign(side) for side in node.sides)


def _with_sign(node: Node, sign: str) -> Node:
    if isinstance(node, Rel):
        return Rel(node.ops, tuple(_with_sign(side, sign) for side in node.sides))
    if not isinstance(node, App):
        return node
    args = tuple(_with_sign(argument, sign) for argument in node.args)
    if node.op != "pm":
        return App(node.op, args)
    second = args[1] if sign == "add" else App("neg", (args[1],))
    return second if args[0] == Num(Fraction(0)) else App("add", (args[0], second))


def _unnamed(node: Node) -> Node:
    """The value that a name is given: 5 of "x = 5", "f(3) = 5", "the total = 5", "2 + 3 = 5"; else `node`.

    What stands before the last equals sign must be a name or have no variable: x² + y² = 13 gives nothing a value.
    """
    if not isinstance(node, Rel) or set(node.ops) != {"="}:
        return node
    *names, value = node.sides
    if all(
        isinstance(name, (Sym, Words)) or not (variables(name) or contains(name, (Rel, Many, Seq))) for name in names
    ):
        return value
    if all(_is_names(name) for name in names):
        return value
    return node


def _is_names(node: Node) -> bool:
    """(x, y), or a label with its arguments."""
    if isinstance(node, Seq):
        return all(isinstance(item, Sym) for item in node.items)
    if isinstance(node, App) and node.op in ("mul", "abs"):
        return all(isinstance(part, (Sym, Words)) for part in node.args) and contains(node, Words)
    return False


def _alone(node: Node) -> Node:
    """The one thing in a list, set or tuple of one."""
    while isinstance(node, Seq) and len(node.items) == 1 and {"[": "]", "{": "}", "(": ")"}[node.open] == node.close:
        node = node.items[0]
    return node


def _items(node: Node) -> list[Node]:
    """What a list or set has in it, with or without brackets; "x = 1, 2" and "x = 1, x = 2" have 1 and 2 in them."""
    if isinstance(node, Seq) and len(node.items) == 1 and isinstance(node.items[0], (Seq, Many)):
        return _items(node.items[0])
    if not isinstance(node, (Many, Seq)):
        return [_unnamed(signed) for signed in _written_out(node)]
    found: list[Node] = []
    items = [signed for item in node.items for signed in _written_out(item)]
    for item in items:
        found.append(_unnamed(item))
    return found


# -- the rules -----------------------------------------------------------------------------------------------------


def _assignment(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    """x = 5 for 5, and 5 for x = 5."""
    ours, theirs = isinstance(reference, Rel), isinstance(predicted, Rel)
    if ours and theirs and isinstance(reference, Rel) and isinstance(predicted, Rel):
        value, other = _unnamed(reference), _unnamed(predicted)
        if isinstance(reference.sides[0], Seq) and value is not reference and other is not predicted:
            return compare(value, other, question)
        return None
    if theirs and (value := _unnamed(predicted)) is not predicted:
        return compare(reference, value, question)
    if ours and (value := _unnamed(reference)) is not reference:
        return compare(value, predicted, question)
    return None


def _real_set(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    certain = sets.is_set(reference)
    if not certain:
        pair = isinstance(reference, Seq) and len(reference.items) == 2 and reference.open in "(["
        if not (pair and (sets.is_set(predicted) or (asked.interval(question) and not asked.point(question)))):
            return None
    one = sets.pieces(reference)
    if one is None:
        return None
    other = sets.pieces(_alone(predicted)) if not isinstance(predicted, Num) else None
    if other is None:
        return Decided(False, "interval")
    return Decided(sets.same(one, other, lambda a, b: compare(a, b).correct), "interval")


def _matrix(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    if not isinstance(reference, Mat):
        return None
    other = _as_rows(predicted)
    if other is None:
        return Decided(False, "matrix")
    rows = reference.rows
    if 1 in (len(rows), len(rows[0])) and 1 in (len(other), len(other[0])):  # a vector is written down or across
        rows = (tuple(entry for row in rows for entry in row),)
        other = (tuple(entry for row in other for entry in row),)
    if (len(rows), len(rows[0])) != (len(other), len(other[0])):
        return Decided(False, "matrix")
    return _all("matrix", [
        compare(a, b) for row, line in zip(rows, other, strict=True) for a, b in zip(row, line, strict=True)
    ])  # fmt: skip


def _as_rows(node: Node) -> tuple[tuple[Node, ...], ...] | None:
    if isinstance(node, Mat):
        return node.rows
    if isinstance(node, Seq) and node.open in "([" and node.items:
        rows = [item.items for item in node.items if isinstance(item, Seq) and item.open in "(["]
        if len(rows) == len(node.items):
            return tuple(rows) if len({len(row) for row in rows}) == 1 and rows[0] else None
        return (node.items,) if not rows else None
    return None


def _tuple(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    if not isinstance(reference, Seq) or reference.open not in "([" or len(reference.items) < 2:
        return None
    other = _coordinates(reference, _alone(predicted), question)
    if other is None or len(other) != len(reference.items):
        return Decided(False, "tuple")
    return _all("tuple", [compare(a, b, question) for a, b in zip(reference.items, other, strict=True)])


def _coordinates(reference: Seq, predicted: Node, question: str | None) -> Sequence[Node] | None:
    """The predicted coordinates in order: of a tuple, a bare list, a vector, or "x = 1, y = 2"."""
    if isinstance(predicted, Mat):
        if 1 not in (len(predicted.rows), len(predicted.rows[0])):
            return None
        return [entry for row in predicted.rows for entry in row]
    if not isinstance(predicted, (Seq, Many)):
        return None
    items = predicted.items
    named = [item for item in items if isinstance(item, Rel) and item.ops == _EQUAL and isinstance(item.sides[0], Sym)]
    if len(named) == len(items):
        return [item.sides[1] for item in sorted(named, key=lambda item: repr(item.sides[0]))]
    if isinstance(predicted, Seq):
        if predicted.open == "{":
            return None
        unlike = (predicted.open, predicted.close) != (reference.open, reference.close)
        if unlike and not _only_a_tuple(reference, predicted, question):
            return None
    return items


def _only_a_tuple(reference: Seq, predicted: Seq, question: str | None) -> bool:
    """Whether neither can be an interval, so that "[2, 3]" may be Python's way to write (2, 3)."""
    if (predicted.open, predicted.close) not in (("[", "]"), ("(", ")")):
        return False
    if len(reference.items) > 2 or (asked.point(question) and not asked.interval(question)):
        return True
    ends = [sets.real(item) for item in reference.items]
    return ends[0] is None or ends[1] is None or ends[0] >= ends[1]


def _list(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    several = isinstance(reference, Many) or (isinstance(reference, Seq) and reference.open == "{")
    if not several and not (isinstance(reference, Seq) and len(reference.items) == 1):
        return None
    ours, theirs = _items(reference), _items(predicted)
    if len(ours) != len(theirs):
        return Decided(False, "list")
    worded = all(isinstance(item, (Words, Sym)) for item in ours)
    if len(ours) > MAX_LIST or (worded and asked.ordered(question)):
        return _all("list", [compare(a, b, question) for a, b in zip(ours, theirs, strict=True)])
    undecided = False
    for item in ours:
        for index, candidate in enumerate(theirs):
            correct = compare(item, candidate, question).correct
            undecided |= correct is None
            if correct:
                del theirs[index]
                break
        else:
            return Decided(None if undecided else False, "list")
    return Decided(True, "list")


def _one_of_several(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    """Several answers where one is right: wrong, unless they are one answer written in several ways."""
    if isinstance(reference, (Many, Seq, Rel)):
        return None
    alone = _alone(predicted)
    if alone is not predicted:
        return compare(reference, alone, question)
    if isinstance(predicted, (Many, Seq)):
        items = _items(predicted)
        same = isinstance(predicted, Many) and all(compare(reference, item, question).correct for item in items)
        return Decided(same and bool(items), "number of answers")
    return None


def _ratio(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    ours = isinstance(reference, App) and reference.op == "ratio"
    theirs = isinstance(predicted, App) and predicted.op == "ratio"
    if not ours or not theirs or not isinstance(reference, App) or not isinstance(predicted, App):
        return None
    one, other = reference.args, predicted.args
    if len(one) != len(other):
        return Decided(False, "ratio")
    if all(compare(a, b).correct for a, b in zip(one, other, strict=True)):
        return Decided(True, "ratio")
    pairs = zip(one[1:], other[1:], strict=True)
    crossed = [same_value(App("mul", (one[0], b)), App("mul", (other[0], a))) for a, b in pairs]
    return _all("ratio", crossed)


def _base(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    if not contains(reference, Based) and not contains(predicted, Based):
        return None
    (sign, ours), (other_sign, theirs) = _signed(reference), _signed(predicted)
    if sign != other_sign:
        return Decided(False, "base")
    named = asked.bases(question)
    if isinstance(ours, Based) and isinstance(theirs, Based):
        return Decided(ours.base == theirs.base and _digits(ours) == _digits(theirs), "base")
    if isinstance(ours, Based) and isinstance(theirs, Num):
        return Decided(_digits(ours) == _digits(theirs) and (not named or ours.base in named), "base")
    if isinstance(ours, Num) and isinstance(theirs, Based):
        fitting = theirs.base == 10 or theirs.base in named
        return Decided(fitting and _digits(ours) == _digits(theirs), "base")
    return Decided(False, "base")


def _signed(node: Node) -> tuple[int, Node]:
    if isinstance(node, App) and node.op == "neg":
        return -1, node.args[0]
    return 1, node


def _digits(node: Based | Num) -> str:
    if isinstance(node, Num):
        return str(node.value) if node.value.denominator == 1 else ""
    whole, _, decimals = node.digits.upper().partition(".")
    return (whole.lstrip("0") or "0") + ("." + decimals.rstrip("0") if decimals.rstrip("0") else "")


def _percent(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    """ "25%" for 25 where percent is asked for, 0.25 for 25%; never 2500% nor 0.25 for 25."""
    ours = isinstance(reference, Qty) and reference.unit.startswith("%")
    theirs = isinstance(predicted, Qty) and predicted.unit.startswith("%")
    if not ours and not theirs:
        return None
    value = reference.value if isinstance(reference, Qty) else reference
    other = predicted.value if isinstance(predicted, Qty) else predicted
    if ours and theirs:
        return Decided(compare(value, other, question).correct, "percent")
    hundredth = App("div", ((value if ours else other), Num(Fraction(100))))
    if ours:
        same = compare(value, other, question).correct or compare(hundredth, other).correct
        return Decided(same, "percent")
    if compare(value, other, question).correct:
        return Decided(question is None or asked.percent(question), "percent")
    small = (number := sets.real(value)) is not None and (number < 1 or not asked.percent(question))
    return Decided(small and compare(value, hundredth).correct, "percent")


def _quantity(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    """Units may be left out or added, not contradicted; where both are known, 1 m is 100 cm."""
    if not isinstance(reference, Qty) and not isinstance(predicted, Qty):
        return None
    value = reference.value if isinstance(reference, Qty) else reference
    other = predicted.value if isinstance(predicted, Qty) else predicted
    residues = [node.unit for node in (reference, predicted) if isinstance(node, Qty) and node.unit.startswith("mod ")]
    if len(set(residues)) > 1:
        return Decided(False, "residue")
    ours = units.scale(reference.unit) if isinstance(reference, Qty) else _asked_unit(predicted, question)
    theirs = units.scale(predicted.unit) if isinstance(predicted, Qty) else None
    if "deg" in (getattr(reference, "unit", ""), getattr(predicted, "unit", "")) and (ours is None or theirs is None):
        return _degrees(reference, predicted, value, other, question)
    if ours is not None and theirs is not None:
        if ours[0] != theirs[0]:
            # The question's unit was only guessed from its words; the reference's own is certain.
            if isinstance(reference, Qty):
                return Decided(False, "unit")
        elif ours[1] != theirs[1]:
            converted = App("mul", (other, Num(theirs[1] / ours[1])))
            return Decided(compare(value, converted, question).correct, "unit")
    return Decided(compare(value, other, question).correct, "unit")


def _degrees(reference: Node, predicted: Node, value: Node, other: Node, question: str | None) -> Decided:
    """145 and 29π/36 are both 145°."""
    if compare(value, other, question).correct:
        return Decided(True, "degrees")
    one = App("deg", (value,)) if isinstance(reference, Qty) else value
    two = App("deg", (other,)) if isinstance(predicted, Qty) else other
    radians = value if one is value else other
    if not contains(radians, Sym):
        return Decided(False, "degrees")
    return Decided(same_value(one, two).correct, "degrees")


def _asked_unit(predicted: Node, question: str | None) -> tuple[str, Fraction] | None:
    """The unit of the predicted one's dimension that the question asks for; None if it names none or several."""
    theirs = units.scale(predicted.unit) if isinstance(predicted, Qty) else None
    if theirs is None:
        return None
    found = {scale for word in asked.unit_words(question) if (scale := units.scale(units.phrase(word))) is not None}
    fitting = [scale for scale in found if scale[0] == theirs[0]]
    return fitting[0] if len(fitting) == 1 else None


def _equation(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    """The same equation, also with its sides changed over or multiplied by a number; never its value alone."""
    if not isinstance(reference, Rel) or not set(reference.ops) <= {"=", "!="}:
        return None
    if not isinstance(predicted, Rel) or predicted.ops != reference.ops:
        return Decided(False, "equation")
    if (
        all(isinstance(side, (Words, Seq)) for side in (reference.sides[0], predicted.sides[0]))
        or len(reference.ops) > 1
    ):
        pairs = zip(reference.sides, predicted.sides, strict=True)
        return _all("equation", [compare(a, b, question) for a, b in pairs])
    if reference.sides[0] == predicted.sides[0]:
        return Decided(compare(reference.sides[1], predicted.sides[1], question).correct, "equation")
    return Decided(_proportional(reference, predicted, same_factor=asked.primitive(question)), "equation")


def _proportional(one: Rel, other: Rel, *, same_factor: bool) -> bool | None:
    """Whether left minus right is the same in both up to a factor; up to the sign with `same_factor`."""
    try:
        forms = [exact.normal(App("add", (rel.sides[0], App("neg", (rel.sides[1],))))) for rel in (one, other)]
    except exact.NoNormalForm:
        return None
    first, second = forms
    if not first or not second or first.keys() != second.keys():
        return False
    factors = {first[monomial] / second[monomial] for monomial in first}
    return len(factors) == 1 and (not same_factor or abs(factors.pop()) == 1)


def _inequality(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    if not isinstance(reference, Rel):
        return None
    if not isinstance(predicted, Rel):
        return Decided(False, "inequality")
    one, other = _ascending(reference), _ascending(predicted)
    if one.ops != other.ops:
        return Decided(False, "inequality")
    return _all("inequality", [compare(a, b, question) for a, b in zip(one.sides, other.sides, strict=True)])


def _ascending(rel: Rel) -> Rel:
    turned = {">": "<", ">=": "<="}
    if not all(op in turned for op in rel.ops):
        return rel
    return Rel(tuple(turned[op] for op in reversed(rel.ops)), tuple(reversed(rel.sides)))


def _named(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    """Labels: words and single letters by their text; words are never a value."""
    if not isinstance(reference, Words) and not isinstance(predicted, Words):
        return None
    texts = [node.text if isinstance(node, Words) else node.name if isinstance(node, Sym) else None
             for node in (reference, predicted)]  # fmt: skip
    if None in texts:
        return Decided(False, "words")
    one, other = (str(text).lower() if len(str(text)) > 1 else str(text) for text in texts)
    return Decided(one == other, "words")


def _value(reference: Node, predicted: Node, question: str | None) -> Decided | None:
    return same_value(reference, predicted, question)


Rule = Callable[[Node, Node, str | None], Decided | None]
RULES: tuple[Rule, ...] = (
    _assignment,
    _real_set,
    _matrix,
    _list,
    _tuple,
    _one_of_several,
    _ratio,
    _base,
    _percent,
    _quantity,
    _equation,
    _inequality,
    _named,
    _value,
)
