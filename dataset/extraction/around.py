r"""What belongs to a value and stands around it: a minus or ± before it, a unit, percent or degree sign behind it."""

from __future__ import annotations

import re

from dataset.grading import units

_MATH_SPACE = r"(?:\s|\\[,;:! ]|~|\\(?:quad|qquad)(?![a-zA-Z])){0,6}"
_CURRENCY = re.compile(r"(?:\\\$|(?<![A-Za-z])US\$|[¥€£])\s*$")
_RELATION = re.compile(r"(?:[=(\[{,<>:;|&，：；。、]|[\u4e00-\u9fff]|\\[a-z]{2,12}|\\\\)$")
_OPERATION = re.compile(r"\\(?:pi|theta|alpha|beta|infty|circ|times|cdot|right|rvert|degree)$")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}$")
_NEAR = 24  # characters before a value that are looked at
# One dollar sign may part a formula from its unit: "$5$ cm".
_UNIT = re.compile(
    rf"{_MATH_SPACE}\$?{_MATH_SPACE}(?:"
    r"(?P<percent>\\?%|％|per ?cent\b|percent\b)"
    r"|(?P<degrees>\^\s*\{?\s*\\circ\s*\}?(?:\s*[CF]\b)?|°[CF]?|\\degree|degrees?\b)"
    r"|\\(?:text|mathrm|textrm|mbox|rm)\s*\{(?P<text>[^{}]{1,40})\}(?P<power>\^\{?[23]\}?)?"
    r"|\(?(?P<words>[A-Za-z]+\.?(?:(?:[ /]| per )[A-Za-z]+){0,3})(?P<power2>\^\{?[23]\}?|[²³])?\)?"
    r"|[(（]?(?P<zh>[\u4e00-\u9fff]{1,8}(?:/[\u4e00-\u9fff]{1,3})?)[)）]?)"
)
# Short units that are words or variables, too, unless nothing follows them.
_SHORT = frozenset(str.split("in s m h g l t j w a second min day to"))
_WORDS = frozenset({"has", "as", "mis", "hs", "gs", "ls"})  # no plurals
_ENDS = re.compile(r"[\s$)]*(?:$|[.,;:!?。，；、）\n])")
_CJK = re.compile(r"[\u4e00-\u9fff]")
_LONGEST_ZH = max(len(name) for name in units.UNITS if not name.isascii())


def sign_before(text: str, position: int) -> str:
    r"""The sign of the value that begins at `position`: "-", "\pm " or "". A minus between two values is none."""
    before = text[max(0, position - _NEAR) : position]
    near = before.rstrip(" {")
    touches = near == before
    near = _CURRENCY.sub("", near.removesuffix("$")).rstrip(" {")
    if re.search(r"(?:\\pm|\\mp|±)$", near):
        return r"\pm "
    if re.search(r"(?<![A-Za-z])(?:negative|minus)$|负$", near, re.IGNORECASE):
        return "-"
    if near[-1:] not in ("-", "−", "–"):
        return ""
    left = near[:-1]
    opens = (
        left.rstrip(" ").endswith("$") and "$" not in before[len(near) :]
    )  # the formula begins with it: $-\boxed{5}$
    left = left.rstrip(" &{\n")
    if not left or opens or (_RELATION.search(left) and not _OPERATION.search(left)):
        return "-"
    return "-" if touches and near[-2:-1] == " " and _WORD.search(left) else ""  # "it is -$5$"


def unit_after(text: str, position: int) -> tuple[str, int]:
    """The known unit that stands at `position`, to be put behind a value, and where it ends; "" where there is none."""
    match = _UNIT.match(text, position)
    if match is None:
        return "", position
    if match["percent"]:
        return "%", match.end()
    if match["degrees"]:
        return r"^\circ", match.end()
    if match["zh"]:
        unit = _chinese_unit(match["zh"])
        whole = unit == match["zh"]  # with its brackets
        return unit, match.end() if whole else match.start("zh") + len(unit) if unit else position
    if match["text"]:
        power = match["power"] or ""
        known = _known(match["text"].strip() + power)
        name = {"in": "inch"}.get(match["text"].strip(" ."), match["text"].strip())
        return (rf" \text{{{name}}}{power}", match.end()) if known else ("", position)
    return _english_unit(text, match, position)


def _english_unit(text: str, match: re.Match[str], position: int) -> tuple[str, int]:
    words = match["words"]
    start, power = match.start("words"), match["power2"] or ""
    while words:
        whole = start + len(words) == match.end("words")
        phrase = words + (power if whole else "")
        ends = match.end("power2") if whole and power else start + len(words)
        if _known(phrase) and (words.lower().rstrip(".") not in _SHORT or _ENDS.match(text, ends)):
            return f" {phrase.rstrip('.')}".replace("²", "^2").replace("³", "^3"), ends
        words = words.rpartition(" ")[0] or words.rpartition("/")[0]
        words = words.removesuffix(" per")
    return "", position


def _chinese_unit(run: str) -> str:
    if "/" in run and _known(run):
        return run
    run = run.partition("/")[0]
    for length in range(min(len(run), _LONGEST_ZH), 0, -1):
        unit = run[:length]
        if _known(unit) and (length > 1 or len(run) == 1 or unit == "元"):
            return unit
    return ""


def _known(phrase: str) -> bool:
    return phrase.lower() not in _WORDS and units.scale(units.phrase(phrase)) is not None
