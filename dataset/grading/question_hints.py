"""What the question asks for, as far as it bears on the form of the answer. Read from its words alone."""

from __future__ import annotations

import re
from functools import lru_cache

# Each rule asks, and a model answers the same question many times in a row.
_remembered = lru_cache(maxsize=256)
_PERCENT = re.compile(r"percent|%|百分|％", re.IGNORECASE)
_LISTING = re.compile(
    r"separated by (?:a )?commas?|(?:all|both)(?: of)?(?: the| possible| real| complex| integer| positive| distinct)* "
    r"(?:\w+ )?(?:values|solutions|roots|numbers|integers|zeros|primes|factors|divisors)|enter all|list (?:all|the)|"
    r"all (?:\w+ ){0,3}(?:\$[^$]*\$ )?(?:for which|such that)|multiple solutions|in (?:increasing|decreasing|ascending|"
    r"descending) order|from (?:least|smallest|greatest|largest) to|用逗号|逗号分隔|所有|分别",
    re.IGNORECASE,
)
_INTERVAL = re.compile(r"interval|inequalit|domain|range\b|区间|不等式|定义域|值域|取值范围", re.IGNORECASE)
_DOMAIN = re.compile(r"domain|inverse function|f\^\{-1\}|定义域|反函数", re.IGNORECASE)
_TUPLE = re.compile(
    r"ordered (?:pair|triple|quadruple|tuple)|coordinate|point|vector|focus|foci|vert(?:ex|ices)|center|intersect|"
    r"\([a-z], ?[a-z](?:, ?[a-z])?\)|\(\\rho|\(r, ?\\theta|坐标|有序|数对|向量|点",
    re.IGNORECASE,
)
_FACTORED = re.compile(r"\bfactor(?:ed|ize|ise)?\b(?! of| in|s)|因式分解|分解因式", re.IGNORECASE)
_PRIMITIVE = re.compile(r"\\gcd|greatest common (?:divisor|factor) of|relatively prime")
# Wordings that ask for several values without saying how they are to be written.
_SEVERAL = re.compile(
    r"(?:find|solve for|determine|what are|compute|give|求|计算)[^.?。？]{0,60}?(?:\band\b|,|和|与|、)|solve\b"
    r"|solutions|roots|(?:find|determine) all|how many \w+ and how many|each\b|respectively|各|解方程|解得|\(2\)|（2）|"
    r"(?:几|多少)[^?？]{0,60}(?:几|多少)",
    re.IGNORECASE,
)
_ONE_OF_SEVERAL = re.compile(
    r"\b(?:only )?one of\b[^.?]*\bnot both\b|enter only one|any one of\b|one possible", re.IGNORECASE
)
_ORDERED = re.compile(r"\border\b|排列|顺序", re.IGNORECASE)
_BASES = dict(zip(
    str.split("two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"),
    range(2, 17), strict=True,
))  # fmt: skip
_BASE = re.compile(r"base[- $]*(\d+|[a-z]+)|(\d+|[二三四五六七八九十]) ?进制", re.IGNORECASE)
_HOW_MANY = re.compile(
    r"\b(?:how many|number of|how much|in|express\w* \w+ \w+ in)\s+(square |cubic )?([a-z]+)", re.IGNORECASE
)
_HOW_MANY_ZH = re.compile(r"(?:多少|几)个?([^\d\s，。？?,.、：]{1,5})")


_TARGET = re.compile(
    r"(?:find|compute|evaluate|determine|calculate|simplify|what is|value of|求)[^$\\.]{0,40}?"
    r"(?:\$([^$]+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\))",
    re.IGNORECASE | re.DOTALL,
)
_OPTION = re.compile(
    r"(?<![A-Za-z])\(?([A-J])\s*[).:：、]\s*(.+?)(?=[\s,;]*(?<![A-Za-z])\(?[A-J]\s*[).:：、]|\n|$)", re.DOTALL
)


@_remembered
def percent(question: str | None) -> bool:
    """Whether it speaks of percent, so that "25" and "25%" may mean the same."""
    return question is not None and _PERCENT.search(question) is not None


@_remembered
def listing(question: str | None) -> bool:
    """Whether several answers are asked for, so that a comma parts them."""
    return question is not None and _LISTING.search(question) is not None


@_remembered
def several(question: str | None) -> bool:
    """Whether more than one value is asked for in any wording; weaker than `listing`."""
    return listing(question) or (question is not None and _SEVERAL.search(question) is not None)


@_remembered
def one_of_several(question: str | None) -> bool:
    """Whether one of several right answers is asked for, so that a text that gives two gives each of them."""
    return question is not None and _ONE_OF_SEVERAL.search(question) is not None


@_remembered
def interval(question: str | None) -> bool:
    return question is not None and _INTERVAL.search(question) is not None


@_remembered
def domain(question: str | None) -> bool:
    """Whether where a function is defined belongs to the answer."""
    return question is not None and _DOMAIN.search(question) is not None


@_remembered
def point(question: str | None) -> bool:
    return question is not None and _TUPLE.search(question) is not None


@_remembered
def factored(question: str | None) -> bool:
    """Whether a product is asked for, so that the sum it came from is no answer."""
    return question is not None and _FACTORED.search(question) is not None


@_remembered
def primitive(question: str | None) -> bool:
    """Whether coefficients without a common factor are asked for, so that a multiple of an equation is no answer."""
    return question is not None and _PRIMITIVE.search(question) is not None


@_remembered
def ordered(question: str | None) -> bool:
    return question is not None and _ORDERED.search(question) is not None


def bases(question: str | None) -> frozenset[int]:
    """The number bases that it names."""
    if question is None:
        return frozenset()
    found = set()
    for match in _BASE.finditer(question):
        word = (match[1] or match[2]).lower()
        if word.isdecimal() and len(word) < 3:
            found.add(int(word))
        elif word in _BASES:
            found.add(_BASES[word])
        elif word in "二三四五六七八九十":
            found.add("二三四五六七八九十".index(word) + 2)
    return frozenset(found)


def targets(question: str | None) -> list[str]:
    """The formulas whose value is asked for: of "Find $z^3$" z^3; without white space."""
    if question is None:
        return []
    found = [next(filter(None, match.groups())) for match in _TARGET.finditer(question)]
    return [re.sub(r"\\displaystyle|\s", "", formula).strip(".,") for formula in found]


def options(question: str | None) -> dict[str, str]:
    """What each letter stands for in a question with choices; empty for any other."""
    if question is None:
        return {}
    found = {match[1]: match[2].strip(" ,;.$") for match in _OPTION.finditer(question)}
    return found if {"A", "B"} <= found.keys() else {}


def unit_words(question: str | None) -> list[str]:
    """What follows "how many", "in" or 多少, in order: candidates for the unit that is asked for."""
    if question is None:
        return []
    words = ["".join(part or "" for part in match.groups()) for match in _HOW_MANY.finditer(question)]
    words = [word for word in words if word != "in"]
    for match in _HOW_MANY_ZH.finditer(question):
        words += [match[1][:length] for length in range(len(match[1]), 0, -1)]
    return words


def mentions(question: str | None, word: str) -> bool:
    """Whether `word`, or its plural or singular, stands in the question."""
    if question is None or not word:
        return False
    stem = re.escape(word.lower().rstrip("s"))
    return re.search(rf"(?<![a-z]){stem}(?:s|es)?(?![a-z])", question.lower()) is not None
