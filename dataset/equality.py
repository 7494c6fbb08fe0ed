"""Whether a predicted answer equals the reference, and by which rule. A first cut: text, then exact rationals."""

from __future__ import annotations

import re
from fractions import Fraction

from dataset.types import Verdict

_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d*)(\.\d*)?")
_FRACTION = re.compile(r"([+-]?)\\?[dt]?frac\{(-?\d+)\}\{(-?\d+)\}|([+-]?\d+)/(\d+)()")


def equivalent(reference: str, predicted: str | None, question: str | None = None) -> Verdict:
    """Whether `predicted` is the same answer as `reference`; the reference comes first, for it is not symmetric.

    `question` may say which unit, rounding, base or form is asked for.
    """
    if predicted is None or not predicted.strip():
        return Verdict(correct=False, rule="no answer", reference=reference, predicted=predicted)
    first, second = _plain(reference), _plain(predicted)
    if first == second:
        return Verdict(correct=True, rule="same text", reference=reference, predicted=predicted)
    one, other = _value(first), _value(second)
    if one is not None and other is not None:
        return Verdict(correct=one == other, rule="number", reference=reference, predicted=predicted)
    return Verdict(correct=False, rule="different text", reference=reference, predicted=predicted)


def _plain(text: str) -> str:
    text = text.strip().strip("$").rstrip(".。").replace("\\$", "").replace("\\!", "").replace("\\%", "").rstrip("%")
    text = re.sub(r"\\text\{[^{}]*\}|\\left|\\right|\\[,; ]|\s+", "", text)
    text = re.sub(r"^[a-zA-Z]=", "", text).replace("{,}", ",").replace("dfrac", "frac").replace("tfrac", "frac")
    return re.sub(r"(?<=\d)(元|个|千克|米|dollars?|cents?)$", "", text)


def _value(text: str) -> Fraction | None:
    if len(text) > 4000:
        return None
    if match := _FRACTION.fullmatch(text):
        sign, top, bottom, left, right, _ = match.groups()
        top, bottom = top or left, bottom or right
        return None if int(bottom) == 0 else Fraction(int(top), int(bottom)) * (-1 if sign == "-" else 1)
    match = _NUMBER.fullmatch(text)
    if match is None or not any(character.isdigit() for character in text):
        return None
    sign, whole, decimals = match.groups()
    digits = f"{whole.replace(',', '') or '0'}{decimals or ''}"
    return Fraction(digits if not digits.endswith(".") else digits[:-1]) * (-1 if sign == "-" else 1)
