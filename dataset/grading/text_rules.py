"""The rules for answers that are decided as text, before anything is parsed, in the order in which they are asked.

`TEXT_RULES` is the table. Each rule gets both answers as `normalize.clean` leaves them and the question; it says right
or wrong, or leaves the pair (None) to the next rule and at last to the parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from dataset.grading import phrases, question_hints, times, trees, wording
from dataset.grading.normalize import clean
from dataset.grading.repair import squeezed
from dataset.grading.values import Decided

_DIGITS = re.compile(
    r"(?P<hex>0x)?\(?(?P<digits>[0-9A-Za-z]{1,200})\)?(?:_\{?(?P<base>\d{1,2})\}?)?",
    re.ASCII,
)
_PLAIN = re.compile(r"-?\d{1,300}(?:\.\d{1,300})?", re.ASCII)
# Groups of two and three digits (India), or of four (China), which elsewhere would be lists.
_GROUPED = re.compile(r"-?(?:\d{1,2}(?:,\d{2}){1,10},\d{3}|\d{1,4}(?:,\d{4}){1,10})(?:\.\d+)?", re.ASCII)
_SHORT = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)\s*([kKM])", re.ASCII)  # 1.8k


def clock(reference: str, predicted: str, question: str | None) -> Decided | None:
    """Times of day; 3:30 is 15:30 where only one of the two says which half of the day it means."""
    ours, theirs = times.clock(reference), times.clock(predicted)
    if ours is None or theirs is None:
        said = ours or theirs
        known_wrong = said is not None and said.marked and not said.maybe_duration
        return Decided(False, "clock time") if known_wrong else None
    if ours.half_said and theirs.half_said:
        same = ours.seconds % (24 * 3600) == theirs.seconds % (24 * 3600)
    else:
        same = (ours.seconds - theirs.seconds) % (12 * 3600) == 0
    if ours.marked or theirs.marked:
        return Decided(same, "clock time")
    return Decided(True, "clock time") if same and (ours.likely or theirs.likely) else None


def date(reference: str, predicted: str, question: str | None) -> Decided | None:
    """Days of the year; the year may be left out."""
    ours = times.date(reference)
    if ours is None:
        return None
    theirs = times.date(predicted)
    if theirs is None or ours[1:] != theirs[1:]:
        return Decided(False, "date")
    return Decided(None in (ours[0], theirs[0]) or ours[0] == theirs[0], "date")


def discount(reference: str, predicted: str, question: str | None) -> Decided | None:
    """八折 is 8折, 80% and 0.8; it is 8 where the question is what 折 it is."""
    ours, theirs = phrases.discount(reference), phrases.discount(predicted)
    if ours is None and theirs is None:
        return None
    if ours is not None and theirs is not None:
        return Decided(ours == theirs, "discount")
    discounted, other = (ours, predicted) if ours is not None else (theirs, reference)
    assert discounted is not None
    value = _number(other.removesuffix("%").rstrip("\\ "))
    if value is None:
        return Decided(False, "discount")
    if other.endswith("%"):
        return Decided(value / 100 == discounted, "discount")
    asked = question is None or re.search("[折成]", question) is not None
    return Decided(value == discounted or (asked and value == 10 * discounted), "discount")


def _number(text: str) -> Fraction | None:
    return Fraction(text) if _PLAIN.fullmatch(text) else phrases.number(text)


def choice(reference: str, predicted: str, question: str | None) -> Decided | None:
    """One letter or several; also a letter for what the question says that it stands for."""
    ours, theirs = phrases.choice(reference), phrases.choice(predicted)
    letters = question_hints.options(question)
    if ours is not None and theirs is None and letters and re.fullmatch(r"[a-j]", predicted):
        theirs = predicted.upper()
    if ours is not None and theirs is not None:
        return Decided(ours == theirs, "choice")
    if (ours is None) != (theirs is None) and letters:
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
    fitting = [name for name, content in letters.items() if _says(clean(content), said)]
    if len(fitting) > 1:  # lists in another order, the same value written twice
        same_text = [name for name in fitting if squeezed(clean(letters[name])) == squeezed(said)]
        fitting = same_text or fitting
    return Decided(fitting == [letter], "choice") if fitting else None


def _says(content: str, said: str) -> bool:
    """Whether what a choice says is `said`: a time, a date, a discount, or whatever can be read."""
    content = wording.in_signs(content)
    times_and_dates = (rule(content, said, None) for rule in (clock, date, discount))
    decided = next((found for found in times_and_dates if found is not None), None) or trees.decide(content, said, None)
    return decided.correct is True


def circled(reference: str, predicted: str, question: str | None) -> Decided | None:
    """①③, the statements that hold, in any order."""
    ours, theirs = phrases.circled(reference), phrases.circled(predicted)
    return None if ours is None else Decided(ours == theirs, "choice")


def remainder(reference: str, predicted: str, question: str | None) -> Decided | None:
    """A quotient and what is left, as words or, in a prediction, as Python's divmod gives it."""
    ours = phrases.remainder(reference)
    if ours is None:
        return None
    theirs = phrases.remainder(predicted) or phrases.two_numbers(predicted)
    return Decided(theirs is not None and list(map(int, ours)) == list(map(int, theirs)), "remainder")


def letters_as_digits(reference: str, predicted: str, question: str | None) -> Decided | None:
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


def grouped(reference: str, predicted: str, question: str | None) -> Decided | None:
    """12,34,567 and 1.8k for a reference that is one plain number; never wrong by itself: both mean else, too."""
    if not _PLAIN.fullmatch(reference):
        return None
    if match := _SHORT.fullmatch(predicted):
        value = Fraction(match[1]) * (1_000_000 if match[2] == "M" else 1_000)
    elif _GROUPED.fullmatch(predicted) and not question_hints.listing(question):
        value = Fraction(predicted.replace(",", ""))
    else:
        return None
    return Decided(True, "integer") if value == Fraction(reference) else None


def words(reference: str, predicted: str, question: str | None) -> Decided | None:
    """Answers that have nothing but words."""
    ours, theirs = phrases.words(reference), phrases.words(predicted)
    if ours is None or phrases.number(reference) is not None:
        return None
    return None if theirs is None else Decided(ours == theirs, "words")


TextRule = Callable[[str, str, str | None], Decided | None]
TEXT_RULES: tuple[TextRule, ...] = (
    choice,
    clock,
    date,
    discount,
    circled,
    remainder,
    letters_as_digits,
    grouped,
    words,
)
