"""The rules by which two trees are the same answer, in the order in which they are asked.

`RULES` is the table: each rule looks at the kinds of the two, says right, wrong or "cannot be decided", or leaves the
pair to the next one. What a rule calls itself is what the verdict carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dataset.grading import arrays, exact, question_hints, sets
from dataset.grading.quantities import Asking, base, percent, quantity, ratio
from dataset.grading.tree import App, Many, Node, Qty, Rel, Seq, Sym, Words
from dataset.grading.unwrap import alone, half_open, members, rounded, settled, unnamed, values_by_name
from dataset.grading.values import Decided, all_of, same_value

MAX_LIST = 60  # items that are matched in any order; longer lists must come in the reference's


def compare(reference: Node, predicted: Node, question: str | None = None) -> Decided:
    """Whether `predicted` is the answer `reference`."""
    for one, other in [(a, b) for a in _ways(reference) for b in _ways(predicted)][1:]:
        if compare(one, other, question).correct:
            return Decided(True, "rounded")
    one, other = settled(reference), settled(predicted)
    asking = Asking(question, lambda a, b: compare(a, b, question))
    for rule in RULES:
        decided = rule(one, other, asking)
        if decided is not None:
            return decided
    return Decided(False, "another kind")


def _ways(node: Node) -> list[Node]:
    """`node`, and the rounded values that it gives besides: of "10/3 ≈ 3.33" 3.33, where that was asked for."""
    return [node, *rounded(node)]


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


def _list(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Lists and sets: the same items in any order, none missing, none more."""
    several = isinstance(reference, Many) or (isinstance(reference, Seq) and reference.open == "{")
    if not several and not (isinstance(reference, Seq) and len(reference.items) == 1):
        return None
    ours, theirs = members(reference), members(predicted)
    if isinstance(reference, Many) and reference.joint == "and" and len(theirs) == 1 and _mixed(ours):
        return asking.same(App("add", tuple(ours)), theirs[0])  # 3 and 1/2
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
    if len(one.ops) == len(other.ops) == 1 and _multiplied(reference, predicted):
        return Decided(True, "inequality")
    if one.ops != other.ops:
        return Decided(False, "inequality")
    return all_of("inequality", [asking.same(a, b) for a, b in zip(one.sides, other.sides, strict=True)])


def _multiplied(reference: Rel, predicted: Rel) -> bool:
    """Whether two inequalities are the same up to a factor, which turns the sign where it is negative."""
    try:
        first, second = (
            exact.normal(App("add", (rel.sides[0], App("neg", (rel.sides[1],))))) for rel in (reference, predicted)
        )
    except exact.NoNormalForm:
        return False
    if not first or first.keys() != second.keys():
        return False
    factors = {second[monomial] / first[monomial] for monomial in first}
    if len(factors) != 1:
        return False
    ops = (reference.ops[0], predicted.ops[0])
    return ops[0] == (ops[1] if factors.pop() > 0 else sets.TURNED.get(ops[1], ops[1]))


def _ascending(rel: Rel) -> Rel:
    if not all(op in (">", ">=") for op in rel.ops):
        return rel
    return Rel(tuple(sets.TURNED[op] for op in reversed(rel.ops)), tuple(reversed(rel.sides)))


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
    arrays.cases,
    _real_set,
    arrays.vector,
    arrays.matrix,
    _list,
    arrays.coordinates,
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
