r"""Signs that are said in words, as signs: "x is at least 3", "one and a half hours", 1个半小时, "2 out of 3", 正负2.

It looks at short answers only, and rewrites what is only said otherwise: a word that it does not know stays where it
is, and the parser then refuses it.
"""

from __future__ import annotations

import re
from fractions import Fraction

from dataset.grading import phrases, units

LONGEST = 120  # characters; sentences are for extraction
_PLUS_MINUS = re.compile(r"\bplus[ -]or[ -]minus\b\s*|正负")
_COMPARISONS = (
    (
        ">=",
        r"(?:greater|larger|more) than or equal to|at least|(?:no|not) less than|大于(?:或者?)?等于|不[小少低]于|至少",
    ),
    ("<=", r"(?:less|smaller) than or equal to|at most|(?:no|not) (?:more|greater) than|小于(?:或者?)?等于"),
    ("<=", r"不[大多高]于|不超过|至多"),
    (">", r"(?:strictly )?(?:greater|larger|more|bigger) than|大于|超过|高于"),
    ("<", r"(?:strictly )?(?:less|smaller) than|小于|低于"),
)
_COMPARED = re.compile(
    r"([a-zA-Z])\s*(?:is|must be|should be)?\s*(?:"
    + "|".join(f"(?P<p{place}>{words})" for place, (_, words) in enumerate(_COMPARISONS))
    + r")\s*(?=[-\d\\(.])"
)
_ORDINAL = re.compile(r"(?:the )?(\d{1,9})(?:st|nd|rd|th)(?: ([a-z]+))?", re.IGNORECASE)
_ORDINAL_ZH = re.compile(rf"第\s*(?=[\d{phrases.NUMERALS_ZH}])")
_HAN = f"[{phrases.NUMERALS_ZH}]{{1,9}}"
_HALF_UNITS = "个|小时|钟头|天|年|月|周|米|厘米|千米|公里|里|千克|公斤|斤|克|吨|升|毫升|分钟|元|块|页|杯|倍|张|只"
_PER_HUNDRED_ZH = re.compile(rf"百分之([{phrases.NUMERALS_ZH}]{{1,9}}点[{phrases.NUMERALS_ZH}]{{1,9}})")
_AND_HALF_ZH = re.compile(rf"(\d{{1,9}}|{_HAN})个半(?=[\u4e00-\u9fff]|$)|(\d{{1,9}}|{_HAN})({_HALF_UNITS})半")
_HALF_ZH = re.compile(rf"半(个?(?:{_HALF_UNITS}))")
_OUT_OF = re.compile(r"(?:a )?(\d{1,9})(?: out of |[ -]in[ -]| in every )(?:a |the )?(\d{1,9})(?: chance)?")
_AND_PART = re.compile(r"(\d{1,9}) and ((?:an?|one|two|three|four|five|six|seven|eight|nine)[ -][a-z]+)( [a-z/^ \d]+)?")
_UNIT_AND_HALF = re.compile(r"(?:an?|one) ([a-z]+) and a half")
_PART_OF_UNIT = re.compile(r"((?:a |one |three |two )?[a-z]+)(?:[- ]of)? an? ([a-z]+)")
_ONE_UNIT = re.compile(r"an? ([a-z]+)")
_TIMES = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) times")
_SAID_AGAIN = re.compile(r"(-?\d[\d,]{0,12})\s*\(([a-z -]{3,60})\)")


def in_signs(text: str) -> str:
    """`text`, which `normalize.clean` has been over, with what it says in words written in signs and digits."""
    if len(text) > LONGEST or not re.search(r"[a-z]{2}|[\u4e00-\u9fff]", text, re.IGNORECASE):
        return text
    text = _PLUS_MINUS.sub(r"\\pm ", text)
    if match := _COMPARED.match(text):
        sign = next(sign for place, (sign, _) in enumerate(_COMPARISONS) if match[f"p{place}"])
        return f"{match[1]} {sign} {text[match.end() :]}"
    return _in_english(text) if text.isascii() else _in_chinese(text)


def _in_chinese(text: str) -> str:
    text = _ORDINAL_ZH.sub("", text, count=1) if text.startswith("第") else text
    if (match := _PER_HUNDRED_ZH.fullmatch(text)) and (value := phrases.number(match[1])) is not None:
        return f"{float(value):g}%"
    if match := _AND_HALF_ZH.match(text):
        said = match[1] or match[2]
        whole = phrases.number(said) if not said.isdecimal() else said
        return f"{whole}.5{match[3] or ''}{text[match.end() :]}" if match[1] or match.end() == len(text) else text
    return f"0.5{half[1]}" if (half := _HALF_ZH.fullmatch(text)) else text


def _in_english(text: str) -> str:
    said = phrases.plain(text)
    if match := _ORDINAL.fullmatch(said):
        return f"{match[1]} {match[2]}" if match[2] else match[1]
    if match := _OUT_OF.fullmatch(said):
        return f"{match[1]}/{match[2]}"
    if match := _TIMES.fullmatch(said):
        return match[1]
    if (match := _SAID_AGAIN.fullmatch(said)) and phrases.number(match[2]) == Fraction(match[1].replace(",", "")):
        return match[1]
    said = said.lower()
    if (match := _AND_PART.fullmatch(said)) and (part := phrases.number(match[2])) is not None and part < 1:
        return f"{match[1]} {part}{match[3] or ''}"
    if (match := _UNIT_AND_HALF.fullmatch(said)) and _known(match[1]):
        return f"1.5 {match[1]}"
    if (match := _PART_OF_UNIT.fullmatch(said)) and _known(match[2]):
        part = phrases.number(match[1])
        return text if part is None or part >= 1 else f"({part}) {match[2]}"
    if (match := _ONE_UNIT.fullmatch(said)) and _known(match[1]):
        return f"1 {match[1]}"
    return text


def _known(word: str) -> bool:
    return word in units.MULTIPLIERS or units.scale(units.phrase(word)) is not None
