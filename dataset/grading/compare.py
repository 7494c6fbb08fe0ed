"""The rules by which two trees are the same answer, in the order in which they are asked.

`RULES` is the table: each rule looks at the kinds of the two, says right, wrong or "cannot be decided", or leaves the
pair to the next one. What a rule calls itself is what the verdict carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dataset.grading import exact, question_hints, sets
from dataset.grading.quantities import Asking, base, percent, quantity, ratio
from dataset.grading.tree import App, Many, Mat, Node, Qty, Rel, Seq, Sym, Words
from dataset.grading.unwrap import alone, half_open, members, settled, unnamed, values_by_name
from dataset.grading.values import Decided, all_of, same_value

MAX_LIST = 60  # items that are matched in any order; longer lists must come in the reference's


def compare(reference: Node, predicted: Node, question: str | None = None) -> Decided:
    """Whether `predicted` is the answer `reference`."""
    one, other = settled(reference), settled(predicted)
    asking = Asking(question, lambda a, b: compare(a, b, question))
    for rule in RULES:
        decided = rule(one, other, asking)
        if decided is not None:
            return decided
    return Decided(False, "another kind")


def _assignment(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """x = 5 for 5, and 5 for x = 5."""
    value, other = unnamed(reference), unnamed(predicted)
    if isinstance(reference, Rel) and isinstance(predicted, Rel):
        tuples = isinstance(reference.sides[0], Seq) and value is not reference and other is not predicted
        return asking.same(value, other) if tuples else None
    if value is not reference or other is not predicted:
        return asking.same(value, other)
    return None


def _real_set(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Intervals with their brackets, unions, inequalities in one letter."""
    if not sets.is_set(reference):
        pair = isinstance(reference, Seq) and len(reference.items) == 2 and reference.open in ("(", "[")
        wanted = question_hints.interval(asking.question) and not question_hints.point(asking.question)
        if not pair or not (sets.is_set(predicted) or wanted):
            return None
    ours, theirs = sets.pieces(reference), sets.pieces(alone(predicted))
    if ours is None:
        return None
    if theirs is None:
        return Decided(False, "interval")
    return Decided(sets.same(ours, theirs, lambda a, b: asking.same(a, b).correct), "interval")


def _matrix(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Entry by entry. A vector may be written down, across, or as a tuple."""
    if not isinstance(reference, Mat):
        return None
    rows, other = reference.rows, _rows(predicted)
    if other is None:
        return Decided(False, "matrix")
    if 1 in (len(rows), len(rows[0])) and 1 in (len(other), len(other[0])):
        rows = (tuple(entry for row in rows for entry in row),)
        other = (tuple(entry for row in other for entry in row),)
    if (len(rows), len(rows[0])) != (len(other), len(other[0])):
        return Decided(False, "matrix")
    pairs = [pair for row, line in zip(rows, other, strict=True) for pair in zip(row, line, strict=True)]
    return all_of("matrix", [asking.same(a, b) for a, b in pairs])


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


def _list(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Lists and sets: the same items in any order, none missing, none more."""
    several = isinstance(reference, Many) or (isinstance(reference, Seq) and reference.open == "{")
    if not several and not (isinstance(reference, Seq) and len(reference.items) == 1):
        return None
    ours, theirs = members(reference), members(predicted)
    if len(ours) != len(theirs) or half_open(predicted):
        return Decided(False, "list")
    if (named := values_by_name(reference)) is not None:  # x = 1, y = 2 is neither x = 2, y = 1 nor (2, 1)
        other = values_by_name(predicted) or dict(zip(named, theirs, strict=True))
        same_names = named.keys() == other.keys()
        return (
            all_of("list", [asking.same(named[x], other[x]) for x in named]) if same_names else Decided(False, "list")
        )
    nouns, other_nouns = _nouns(ours), _nouns(theirs)
    if nouns and nouns.keys() == other_nouns.keys():  # 5 red, 3 blue is not 3 red, 5 blue
        return all_of("list", [asking.same(nouns[noun], other_nouns[noun]) for noun in nouns])
    worded = all(isinstance(item, (Words, Sym)) for item in ours)
    if len(ours) > MAX_LIST or (worded and question_hints.ordered(asking.question)):
        return all_of("list", [asking.same(a, b) for a, b in zip(ours, theirs, strict=True)])
    undecided = False
    for item in ours:
        for index, candidate in enumerate(theirs):
            correct = asking.same(item, candidate).correct
            undecided |= correct is None
            if correct:
                del theirs[index]
                break
        else:
            return Decided(None if undecided else False, "list")
    return Decided(True, "list")


def _nouns(items: Sequence[Node]) -> dict[str, Node]:
    """The quantities by what they count; empty where they are not all of different things."""
    found: dict[str, Node] = {item.unit: item for item in items if isinstance(item, Qty)}
    return found if len(found) == len(items) > 1 else {}


def _tuple(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
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
    if len(reference.items) > 2 or (question_hints.point(question) and not question_hints.interval(question)):
        return True
    ends = [sets.real(item) for item in reference.items]
    return ends[0] is None or ends[1] is None or ends[0] >= ends[1]


def _one_of_several(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Several answers where one is right: wrong, unless they are one answer written in several ways."""
    if isinstance(reference, Rel):
        return None
    single = alone(predicted)
    if single is not predicted:
        return asking.same(reference, single)
    if not isinstance(predicted, (Many, Seq)):
        return None
    items = members(predicted) if isinstance(predicted, Many) else []
    if isinstance(predicted, Many) and predicted.joint == "and" and _mixed(items):
        return asking.same(reference, App("add", tuple(items)))
    same = bool(items) and all(asking.same(reference, item).correct for item in items)
    return Decided(same, "number of answers")


def _mixed(items: Sequence[Node]) -> bool:
    """Whether these are the parts of "2 and 3/4"."""
    if len(items) != 2 or not (isinstance(items[1], App) and items[1].op == "div"):
        return False
    whole, part = map(sets.real, items)
    return whole is not None and part is not None and whole >= 1 and whole % 1 == 0 and 0 < part < 1


def _equation(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """The same equation, also with its sides changed over or multiplied by a number; never its value alone."""
    if not isinstance(reference, Rel) or not set(reference.ops) <= {"=", "!="}:
        return None
    if not isinstance(predicted, Rel) or predicted.ops != reference.ops:
        return Decided(False, "equation")
    (left, *_, right), (other_left, *_, other_right) = reference.sides, predicted.sides
    if len(reference.ops) > 1 or isinstance(left, Words):
        pairs = zip(reference.sides, predicted.sides, strict=True)
        return all_of("equation", [asking.same(a, b) for a, b in pairs])
    if left == other_left:
        return Decided(asking.same(right, other_right).correct, "equation")
    return Decided(
        _proportional(reference, predicted, same_factor=question_hints.primitive(asking.question)), "equation"
    )


def _proportional(one: Rel, other: Rel, *, same_factor: bool) -> bool | None:
    """Whether left minus right is the same in both up to a factor; up to the sign with `same_factor`."""
    try:
        first, second = (exact.normal(App("add", (rel.sides[0], App("neg", (rel.sides[1],))))) for rel in (one, other))
    except exact.NoNormalForm:
        return None
    if not first or first.keys() != second.keys():
        return False
    factors = {first[monomial] / second[monomial] for monomial in first}
    return len(factors) == 1 and (not same_factor or abs(factors.pop()) == 1)


def _inequality(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Inequalities in several letters, side by side; a < b < c is c > b > a."""
    if not isinstance(reference, Rel):
        return None
    if not isinstance(predicted, Rel):
        return Decided(False, "inequality")
    one, other = _ascending(reference), _ascending(predicted)
    if one.ops != other.ops:
        return Decided(False, "inequality")
    return all_of("inequality", [asking.same(a, b) for a, b in zip(one.sides, other.sides, strict=True)])


def _ascending(rel: Rel) -> Rel:
    turned = {">": "<", ">=": "<="}
    if not all(op in turned for op in rel.ops):
        return rel
    return Rel(tuple(turned[op] for op in reversed(rel.ops)), tuple(reversed(rel.sides)))


def _words(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Labels: words and single letters by their text; words are never a value."""
    if not isinstance(reference, Words) and not isinstance(predicted, Words):
        return None
    one, other = _text(reference), _text(predicted)
    return Decided(one is not None and one == other, "words")


def _text(node: Node) -> str | None:
    if isinstance(node, Sym):
        return node.name
    if not isinstance(node, Words):
        return None
    return node.text.lower() if len(node.text) > 1 else node.text


def _value(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Numbers and expressions."""
    return same_value(reference, predicted, asking.question)


Rule = Callable[[Node, Node, Asking], Decided | None]
RULES: tuple[Rule, ...] = (
    _assignment,
    _real_set,
    _matrix,
    _list,
    _tuple,
    _one_of_several,
    ratio,
    base,
    percent,
    quantity,
    _equation,
    _inequality,
    _words,
    _value,
)
