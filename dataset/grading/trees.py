"""Both answers read into trees and compared: the way from cleaned text to a verdict, without the rules for words."""

from __future__ import annotations

from dataclasses import replace

from dataset.grading import phrases, question_hints, units
from dataset.grading.compare import compare
from dataset.grading.lexer import Hints, Unreadable
from dataset.grading.normalize import ROW_BREAK
from dataset.grading.parser import read
from dataset.grading.repair import balanced, squeezed
from dataset.grading.tree import Node, Qty
from dataset.grading.values import Decided


def decide(reference: str, predicted: str, question: str | None) -> Decided:
    """Whether two answers, which `normalize.clean` has been over, are the same; None where one cannot be read.

    What cannot be read is compared letter by letter, white space and lost backslashes aside.
    """
    hints = Hints(question, commas_part=question_hints.listing(question))
    try:
        ours = _read(reference, hints)
    except Unreadable:
        return _as_text(reference, predicted, "reference")
    known = units.scale(ours.unit) if isinstance(ours, Qty) else None
    try:
        theirs = _read(predicted, replace(hints, dimension=known[0] if known else None))
    except Unreadable:
        return _as_text(reference, predicted, "prediction")
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
    try:
        return read(text, hints)
    except Unreadable:
        whole = balanced(text)
        if whole == text:
            raise
        return read(whole, hints)


def _as_text(reference: str, predicted: str, unreadable: str) -> Decided:
    ours, theirs = (squeezed(text.replace(ROW_BREAK, "\\")) for text in (reference, predicted))
    if ours == theirs != "":
        return Decided(True, "same text")
    return Decided(None, f"unreadable {unreadable}")
