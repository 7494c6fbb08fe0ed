"""The rules for values with something beside the number: percent, units, degrees, residues, ratios, bases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from dataset.grading import question_hints, sets, units
from dataset.grading.tree import App, Based, Node, Num, Qty, Sym, contains
from dataset.grading.values import Decided, all_of, same_value

_HUNDRED = Num(Fraction(100))


@dataclass(frozen=True, slots=True)
class Asking:
    """What a rule may ask: the question's words, and whether two parts of the answers are the same."""

    question: str | None
    same: Callable[[Node, Node], Decided]


def ratio(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """3:4 is 6:8 and 3/4, never 4:3."""
    if not _is_ratio(reference) or not _is_ratio(predicted):
        return None
    assert isinstance(reference, App)
    assert isinstance(predicted, App)
    one, other = reference.args, predicted.args
    if len(one) != len(other):
        return Decided(False, "ratio")
    if all(asking.same(a, b).correct for a, b in zip(one, other, strict=True)):
        return Decided(True, "ratio")
    if any(sets.real(part) == 0 for part in (*one, *other)):  # 12:00 and 1:00 are no ratios
        return Decided(False, "ratio")
    pairs = zip(one[1:], other[1:], strict=True)
    return all_of("ratio", [same_value(App("mul", (one[0], b)), App("mul", (other[0], a))) for a, b in pairs])


def _is_ratio(node: Node) -> bool:
    return isinstance(node, App) and node.op == "ratio"


def base(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Digits in a base are compared as digits; the base may be left out, and must not be another."""
    if not contains(reference, Based) and not contains(predicted, Based):
        return None
    (sign, ours), (other_sign, theirs) = _signed(reference), _signed(predicted)
    named = question_hints.bases(asking.question)
    if sign != other_sign or not isinstance(ours, (Based, Num)) or not isinstance(theirs, (Based, Num)):
        return Decided(False, "base")
    if isinstance(ours, Based) and isinstance(theirs, Based):
        fitting = ours.base == theirs.base
    elif isinstance(ours, Based):
        fitting = not named or ours.base in named
    else:
        assert isinstance(theirs, Based)
        fitting = theirs.base == 10 or theirs.base in named
    return Decided(fitting and _digits(ours) == _digits(theirs) != "", "base")


def _signed(node: Node) -> tuple[int, Node]:
    if isinstance(node, App) and node.op == "neg":
        return -1, node.args[0]
    return 1, node


def _digits(node: Based | Num) -> str:
    """The digits without zeros that say nothing; "" for what is no whole number in base ten."""
    if isinstance(node, Num):
        return str(node.value) if node.value.denominator == 1 else ""
    whole, _, decimals = node.digits.upper().partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + ("." + decimals if decimals else "")


def percent(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """25% for 25 where percent is asked for, 0.25 for 25%; never 2500% nor 0.25 for 25."""
    ours, theirs = _is_percent(reference), _is_percent(predicted)
    if not ours and not theirs:
        return None
    value, other = number_of(reference), number_of(predicted)
    as_written = asking.same(value, other).correct
    if ours and theirs:
        return Decided(as_written, "percent")
    question = asking.question
    if ours:
        return Decided(as_written or asking.same(App("div", (value, _HUNDRED)), other).correct, "percent")
    size = sets.real(value)
    if as_written:
        # Without a question 0.5% for 0.5 is more likely a slip than a sign left out.
        meant = question_hints.percent(question) if question is not None else size is not None and abs(size) >= 1
        return Decided(meant, "percent")
    # Where percent is asked for, a reference of 0.5 means 0.5 %, and 50% would be a slip.
    share = not question_hints.percent(question) and asking.same(value, App("div", (other, _HUNDRED))).correct
    return Decided(share, "percent")


def _is_percent(node: Node) -> bool:
    return isinstance(node, Qty) and node.unit.split(" ")[0] == "%"


def number_of(node: Node) -> Node:
    """The value of a quantity; of anything else itself."""
    return node.value if isinstance(node, Qty) else node


def quantity(reference: Node, predicted: Node, asking: Asking) -> Decided | None:
    """Units may be left out or added, not contradicted; where both are known, 1 m is 100 cm."""
    if not isinstance(reference, Qty) and not isinstance(predicted, Qty):
        return None
    value, other = number_of(reference), number_of(predicted)
    residues = {node.unit for node in (reference, predicted) if isinstance(node, Qty) and node.unit.startswith("mod ")}
    if len(residues) > 1:
        return Decided(False, "residue")
    if _unit(reference) == "deg" or _unit(predicted) == "deg":
        return _degrees(reference, predicted, asking)
    ours, theirs = units.scale(_unit(reference)), units.scale(_unit(predicted))
    ours, theirs = (
        units.scale_beside(_unit(reference), theirs and theirs[0]),
        units.scale_beside(_unit(predicted), ours and ours[0]),
    )
    ours = ours or _asked_unit(theirs, asking.question)
    if ours is not None and theirs is not None:
        # A question's unit is only guessed from its words; the reference's own is certain.
        if ours[0] != theirs[0]:
            return Decided(False, "unit")
        if ours[1] != theirs[1]:
            other = App("mul", (other, Num(theirs[1] / ours[1])))
    decided = asking.same(value, other)
    # 60 for 1 hour, where minutes are asked for.
    asked = _asked_unit(ours, asking.question) if theirs is None and not decided.correct else None
    if ours is not None and asked is not None and not isinstance(predicted, Qty):
        decided = asking.same(value, App("mul", (other, Num(asked[1] / ours[1]))))
    return Decided(decided.correct, "unit")


def _unit(node: Node) -> str:
    return node.unit if isinstance(node, Qty) else ""


def _asked_unit(theirs: tuple[str, Fraction] | None, question: str | None) -> tuple[str, Fraction] | None:
    """The unit of the same dimension that the question asks for; None if it names none or several."""
    if theirs is None:
        return None
    found = {
        scale for word in question_hints.unit_words(question) if (scale := units.scale(units.phrase(word))) is not None
    }
    fitting = [scale for scale in found if scale[0] == theirs[0]]
    return fitting[0] if len(fitting) == 1 else None


def _degrees(reference: Node, predicted: Node, asking: Asking) -> Decided:
    """145 and 29π/36 are both 145°; π/6 is 30°, with and without the word radians."""
    value, other = number_of(reference), number_of(predicted)
    said = "rad" in (_unit(reference), _unit(predicted))
    if not said and asking.same(value, other).correct:
        return Decided(True, "degrees")
    if _unit(reference) == _unit(predicted):
        return Decided(False, "degrees")
    ours, theirs = _unit(reference) == "deg", _unit(predicted) == "deg"
    radians = other if ours else value
    if not said and not contains(radians, Sym):
        return Decided(False, "degrees")
    one = App("deg", (value,)) if ours else value
    two = App("deg", (other,)) if theirs else other
    return Decided(same_value(one, two).correct, "degrees")
