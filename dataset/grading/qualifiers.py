r"""What stands behind a value and says for which letters it holds: "x + C, where C is a constant", kπ (k ∈ Z).

It may be left out or added; two that say different things contradict each other.
"""

from __future__ import annotations

import re

_LETTER = r"[A-Za-z](?:_\{?\w{1,4}\}?)?"
_RELATION = r"(?:\\in|\\ne|\\neq|\\[lg]eq?|\\[lg]eqslant|[<>]=?|=|是|为)(?![a-zA-Z])"
_WORDS = re.compile(
    r"\b(?:for(?: any| all| each| every| some)?|where|with|when|if|provided)\b|其中|这里|当|对于?(?:任意|所有|一切)"
)
_OPENS = re.compile(r"\\(?:text|mathrm)\s*\{$")
_IN_BRACKETS = re.compile(rf"\s*\(\s*({_LETTER})(?:\s*,\s*{_LETTER})*\s*({_RELATION}[^()]*(?:\([^()]*\)[^()]*)*)\)\s*$")
_AFTER_COMMA = re.compile(
    rf"\s*[,;]\s*({_LETTER})(?:\s*,\s*{_LETTER})*\s*(\\in(?![a-z]).*|[是为](?:任意|常|正|整|自然|实).*)$"
)
_OF_SET = re.compile(r"(?<![A-Za-z\\])([A-Za-z])\s*\\in(?![a-z])")
_FOR_ALL = re.compile(r"for (?:all|any|every|each)(?: real)? [a-z]\.?")
_SAYS = re.compile(
    r"[<>=]|\\(?:in|ne|neq|[lg]eq?|[lg]eqslant)(?![a-z])|\b(?:constant|integer|real|number|positive|natural|arbitrary)"
    r"|常数|整数|实数|自然数|任意|正数"
)
# What is said of the letters, from the narrowest to the widest.
_DOMAINS = (
    (
        "N",
        re.compile(r"\\?(?:mathbb|mathbf|mathrm|bm)?\s*\{?\b[N]\b|\\mathbb\s*N|positive integer|natural|正整数|自然数"),
    ),
    ("Z", re.compile(r"\b[Z]\b|integer|整数")),
    ("R", re.compile(r"\b[R]\b|constant|real|arbitrary|常数|实数")),
)
_INEQUALITY = re.compile(rf"({_LETTER})\s*((?:\\[lg]eq?|\\[lg]eqslant|[<>]=?|\\neq?)(?![a-zA-Z]).*)")


def parted(text: str) -> tuple[str, str]:
    """The value in `text` and its qualifier, which is about a letter of the value; "" where it has none."""
    for pattern in (_IN_BRACKETS, _AFTER_COMMA):
        match = pattern.search(text)
        if match is not None and _holds_for(text[: match.start()], match[1]):
            return text[: match.start()].strip(), text[match.start() :].strip(" ,;()")
    match = _WORDS.search(text, 1)
    if match is None:
        return text, ""
    value, rest = text[: match.start()].rstrip(" ,;("), text[match.start() :]
    value = _OPENS.sub("", value).rstrip(" ,;(")
    letters = set("".join(re.findall(r"(?<![A-Za-z\\])[A-Za-z]{1,3}(?![A-Za-z])", value)))
    about_letters = any(re.search(rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])", rest) for letter in letters)
    says = (about_letters and _SAYS.search(rest)) or _FOR_ALL.fullmatch(rest.strip())
    return (value, rest.strip(" ,;")) if value and says else (text, "")


def _holds_for(value: str, letter: str) -> bool:
    """Whether `letter` is in `value`, and `value` is no condition of the same kind."""
    name = re.escape(letter[0])
    bare = re.sub(r"\\[a-zA-Z]+|\{[^{}]*[A-Za-z]{3,}[^{}]*\}", " ", value)
    return (
        re.search(rf"{name}(?![a-z])", bare) is not None and re.search(r"[<>]|\\(?:[lg]eq?|in)(?![a-z])", value) is None
    )


def same_letter(value: str, qualifier: str, other: str) -> str:
    """`value` with the letter that `other` speaks of for that of its own `qualifier`: nπ (n ∈ Z) as kπ, for k ∈ Z."""
    letters = [_OF_SET.search(text) for text in (qualifier, other)]
    if not letters[0] or not letters[1] or letters[0][1] == letters[1][1]:
        return value
    old, new = letters[0][1], letters[1][1]
    if re.search(rf"(?<![A-Za-z\\]){new}(?![A-Za-z])", value):
        return value
    return re.sub(rf"(?<![A-Za-z\\]){old}(?![A-Za-z])", new, value)


def contradict(one: str, other: str) -> bool:
    """Whether two qualifiers say different things of their letters; words that are not understood contradict none."""
    bounds = [_INEQUALITY.search(text) for text in (one, other)]
    if bounds[0] and bounds[1]:
        return _bare(bounds[0][2]) != _bare(bounds[1][2])
    domains = [next((name for name, pattern in _DOMAINS if pattern.search(text)), None) for text in (one, other)]
    return None not in domains and domains[0] != domains[1]


def bounds(text: str) -> bool:
    """Whether a qualifier bounds a letter by an inequality, as a function's domain does."""
    return _INEQUALITY.search(text) is not None


def _bare(text: str) -> str:
    text = re.sub(r"slant|(?<=[lg]e)q", "", text)
    return re.sub(r"[\s{}$.]|\\text|\\mathrm", "", text)
