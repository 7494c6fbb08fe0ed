"""Whether a predicted answer equals the reference, and by which rule.

Not symmetric: the reference comes first and is trusted, the prediction is what a model wrote. Typed comparison before
algebra; algebra before digits; what cannot be decided is said to be so. The answer is never evaluated as code, the
function works from any thread, and it always returns: see `dataset.grading`.

What it accepts beyond equal text, and what it refuses, is a table in docs/grading.md and a row each in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from dataset.grading import phrases, question_hints, units
from dataset.grading.compare import compare
from dataset.grading.lexer import Hints, Unreadable
from dataset.grading.normalize import MAX_CHARACTERS, clean, fold
from dataset.grading.parser import read
from dataset.grading.tree import Node, Qty
from dataset.grading.values import Decided
from dataset.types import Verdict

MAX_LENGTH = 1_000_000  # characters of an answer that are looked at at all
_DIGITS = re.compile(
    r"(?P<hex>0x)?\(?(?P<digits>[0-9A-Za-z]{1,200})\)?(?:_\{?(?P<base>\d{1,2})\}?)?",
    re.ASCII,
)
_LONG_NUMBER = re.compile(r"([+-]?)0*(\d*)(?:\.(\d*?)0*)?")


def equivalent(reference: str, predicted: str | None, question: str | None = None) -> Verdict:
    """Whether `predicted` is the same answer as `reference`, and the name of the rule that decided.

    `question` may say which unit, percent, rounding, base or form is asked for, and whether a list is. `correct` is
    None where it could not be decided: one of the two is in no known notation, or takes too long to compare.
    """
    decided = _decide(reference, predicted, question)
    return Verdict(correct=decided.correct, rule=decided.rule, reference=reference, predicted=predicted)


def _decide(reference: str, predicted: str | None, question: str | None) -> Decided:
    if predicted is None or not predicted.strip():
        return Decided(False, "no answer")
    if predicted == reference:
        return Decided(True, "same text")
    if max(len(reference), len(predicted)) > MAX_CHARACTERS:
        return _long(reference, predicted)
    ours, theirs = phrases.leads_off(clean(reference)), phrases.leads_off(clean(predicted))
    # Before a lead is lost: the "about" of "about 5" says nothing, the word "about" may be the answer.
    if not set(map(_bare, ours)).isdisjoint(map(_bare, theirs)):
        return Decided(True, "same text")
    one, other = ours[-1], _value_of_target(theirs[-1], reference, question)
    for rule in TEXT_RULES:
        decided = rule(one, other, question)
        if decided is not None:
            return decided
    return _trees(one, other, question)


def _trees(reference: str, predicted: str, question: str | None) -> Decided:
    hints = Hints(question, commas_part=question_hints.listing(question))
    try:
        ours = _read(reference, hints)
    except Unreadable:
        return Decided(None, "unreadable reference")
    known = units.scale(ours.unit) if isinstance(ours, Qty) else None
    try:
        theirs = _read(predicted, replace(hints, dimension=known[0] if known else None))
    except Unreadable:
        return Decided(None, "unreadable prediction")
    if known is None and isinstance(theirs, Qty) and (known := units.scale(theirs.unit)) is not None:
        ours = _read(reference, replace(hints, dimension=known[0]))  # the m of "25 m" is now known to be a meter
    try:
        return compare(ours, theirs, question)
    except RecursionError:  # trees are shallow, but the caller's own stack may be nearly full
        return Decided(None, "too deep")


def _read(text: str, hints: Hints) -> Node:
    if not any(character.isdigit() for character in text):
        said = phrases.words(text)
        if said in phrases.SETS:
            return phrases.SETS[said]
        text = phrases.with_digits(text)
    return read(text, hints)


def _value_of_target(predicted: str, reference: str, question: str | None) -> str:
    """-1 of "z^3 = -1" where z^3 is what was asked for."""
    name, sign, value = re.sub(r"\\approx", "=", predicted).partition("=")
    if not sign or "=" in reference or re.sub(r"\s", "", name) not in map(clean, question_hints.targets(question)):
        return predicted
    return value.strip()


def _bare(text: str) -> str:
    r"""`text` without \text{…} around its words, and without white space that parts nothing."""
    return re.sub(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])", "", phrases.plain(text))


def _long(reference: str, predicted: str) -> Decided:
    """Answers too long to parse: equal texts, or equal plain numbers of any length."""
    if max(len(reference), len(predicted)) > MAX_LENGTH:
        return Decided(None, "too long")
    numbers = [_LONG_NUMBER.fullmatch(re.sub(r"[\s,$]|\\!", "", fold(text))) for text in (reference, predicted)]
    first, second = numbers
    if first is not None and second is not None:
        return Decided(first.groups("") == second.groups(""), "long number")
    return Decided(True, "same text") if reference.strip() == predicted.strip() else Decided(None, "too long")


def _clock(reference: str, predicted: str, question: str | None) -> Decided | None:
    ours, theirs = phrases.clock(reference), phrases.clock(predicted)
    if not (ours is not None and ours[2]) and not (theirs is not None and theirs[2]):
        return None
    if ours is None or theirs is None:
        return Decided(False, "clock time")
    if ours[1] and theirs[1]:
        return Decided(ours[0] == theirs[0], "clock time")
    return Decided((ours[0] - theirs[0]) % (12 * 3600) == 0, "clock time")


def _date(reference: str, predicted: str, question: str | None) -> Decided | None:
    ours = phrases.date(reference)
    if ours is None:
        return None
    theirs = phrases.date(predicted)
    if theirs is None or ours[1:] != theirs[1:]:
        return Decided(False, "date")
    return Decided(None in (ours[0], theirs[0]) or ours[0] == theirs[0], "date")


def _choice(reference: str, predicted: str, question: str | None) -> Decided | None:
    ours = phrases.choice(reference)
    theirs = phrases.choice(predicted)
    if (
        ours is not None
        and theirs is None
        and question_hints.options(question)
        and re.fullmatch(r"\(?[a-j]\)?", predicted)
    ):
        theirs = phrases.choice(predicted.upper())
    if ours is not None and theirs is not None:
        return Decided(ours == theirs, "choice")
    if (ours is None) != (theirs is None) and (letters := question_hints.options(question)):
        return _option(reference, predicted, letters, ours or theirs or "")
    several = phrases.several_choices(reference)
    if several is not None and not question_hints.ordered(question):
        theirs_several = phrases.several_choices(predicted)
        return None if theirs_several is None else Decided(several == theirs_several, "choice")
    return None


def _option(reference: str, predicted: str, letters: dict[str, str], letter: str) -> Decided | None:
    """A choice by its letter on one side and by what it says on the other."""
    said = predicted if phrases.choice(reference) is not None else reference
    if letter not in letters:
        return None
    fitting = [name for name, content in letters.items() if _trees(clean(content), said, None).correct]
    return Decided(fitting == [letter], "choice") if fitting else None


def _words(reference: str, predicted: str, question: str | None) -> Decided | None:
    ours, theirs = phrases.words(reference), phrases.words(predicted)
    if ours is None or phrases.number(reference) is not None:
        return None
    return None if theirs is None else Decided(ours == theirs, "words")


def _circled(reference: str, predicted: str, question: str | None) -> Decided | None:
    """①③, the statements that hold, in any order."""
    ours, theirs = phrases.circled(reference), phrases.circled(predicted)
    return None if ours is None else Decided(ours == theirs, "choice")


def _remainder(reference: str, predicted: str, question: str | None) -> Decided | None:
    ours = phrases.remainder(reference)
    return None if ours is None else Decided(ours == phrases.remainder(predicted), "remainder")


def _letters_as_digits(reference: str, predicted: str, question: str | None) -> Decided | None:
    """2A_{16}, (2a)_16, 0x2A, 2A: letters as digits; digits alone are for the parser."""
    ours, theirs = _DIGITS.fullmatch(reference), _DIGITS.fullmatch(predicted)
    if ours is None or theirs is None or not re.search(r"\d[A-Za-z]|[A-Z]", ours["digits"]):  # x_{12} is a variable
        return None
    bases = {16 if match["hex"] else int(match["base"] or 0) for match in (ours, theirs)} - {0}
    if not bases or not all(10 < base <= 36 for base in bases):
        return None
    try:
        same = int(ours["digits"], max(bases)) == int(theirs["digits"], max(bases))
    except ValueError:  # a digit too large for the base
        return None
    return Decided(same and len(bases) == 1, "base")


TextRule = Callable[[str, str, str | None], Decided | None]
TEXT_RULES: tuple[TextRule, ...] = (_clock, _date, _choice, _circled, _remainder, _letters_as_digits, _words)
