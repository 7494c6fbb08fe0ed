"""A question as what can be compared and published without its text: hashes of its n-grams and of its numbers.

Tokens are words, Chinese characters, single letters, LaTeX commands, signs, and "#" for every number, in digits or in
words (English; Chinese up to 99). Only words of two letters or more and Chinese characters are *text*; labels such as
ABC, letters, commands and signs are formula. Drawings ([asy] … [/asy], tikzpicture), choices "(A) … (B) …" at the
end, and commands that only set (\\left, \\displaystyle) are left out; \\dfrac is \\frac. An n-gram is three tokens,
or six where most of the text is Chinese; it weighs as many words as it has text. Renumbering a question, or changing
its case, white space, punctuation or full-width forms, changes no n-gram.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dataset.mixture.words import hash64, words

GRAM_EN, GRAM_ZH = 3, 6
_DRAWING = re.compile(
    r"\[asy\].*?(?:\[/asy\]|\Z)|\\begin\{(tikzpicture|asy)\}.*?(?:\\end\{\1\}|\Z)", re.DOTALL | re.IGNORECASE
)
_TEXT_COMMAND = re.compile(r"\\(?:text|mbox|textbf|textit|textrm)\s*\{", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|,\\!)(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SETTING = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits|quad|qquad)(?![a-zA-Z])")
_FRAC = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_CHOICES = re.compile(r"\(A\)(?:(?!\(A\)).)*\(B\)(?:(?!\(A\)).)*\Z", re.DOTALL)
_UNITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate((*_UNITS, *_TEENS), 1)}
_VALUES |= {word: 10 * value for value, word in enumerate(_TENS, 2)}
_IN_WORDS = re.compile(
    rf"\b(?:({'|'.join(_TENS)})(?:[- ]({'|'.join(_UNITS)}))?|({'|'.join((*_UNITS, *_TEENS))}))\b", re.IGNORECASE
)
_CHINESE_DIGITS = "一二三四五六七八九"
# 一 alone is left: it is mostly no number (一共).
_IN_CHINESE = re.compile("([二三四五六七八九])?(十)([一二三四五六七八九])?|([二两三四五六七八九])")
_TOKEN = re.compile(
    r"\\(?:begin|end)\s*\{[^{}]*\}|\\[a-zA-Z]+|\d+(?:\.\d+)?|[\u3400-\u9fff]|(?:(?![\u3400-\u9fff])[^\W\d_])+"
    r"|[-+*/=<>^%×÷|]"
)
_SHORTEST_TEMPLATE = 6  # tokens: "What is $2+3$?" has five, and is a calculation like any other
_LONGEST_LABEL = 4  # ABCD: a figure, not a word
_COEFFICIENTS = np.array([hash64("gram", str(place)) | 1 for place in range(GRAM_ZH)], dtype=np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What is kept of a question.

    Attributes:
        equal: hash of its words and numbers, choices left aside: the same in other punctuation.
        template: hash of all its tokens: the same with other numbers; 0 for fewer than six tokens.
        grams: distinct n-grams, uint32, sorted; `weights` the words of text in each, uint8.
        numbers: how often each number occurs, by its hash.
        gram_words: tokens in an n-gram, 3 or 6.
    """

    equal: int
    template: int
    grams: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.uint8]
    numbers: Counter[int]
    gram_words: int


@lru_cache(maxsize=1 << 16)
def _token_hash(token: str) -> int:
    return hash64(token)


def _tokens(text: str) -> tuple[list[str], list[int]]:
    """The tokens of `text`, and for each whether it is a word of text."""
    capitals = text == text.upper()  # a text in capitals throughout has words, not labels
    found: list[str] = []
    is_text: list[int] = []
    for token in _TOKEN.findall(text.lower() if capitals else text):
        if token[0].isdigit():
            found.append("#")
            is_text.append(0)
            continue
        label = len(token) <= _LONGEST_LABEL and token.isupper()
        chinese = "\u3400" <= token[0] <= "\u9fff"
        found.append(token.lower())
        is_text.append(int(chinese or (len(token) > 1 and token[0].isalpha() and not label)))
    return found, is_text


def _value_in_chinese(found: re.Match[str]) -> str:
    tens, ten, ones, alone = found.groups()
    if not ten:
        return "2" if alone == "两" else str(_CHINESE_DIGITS.index(alone) + 1)
    return str((_CHINESE_DIGITS.index(tens) + 1 if tens else 1) * 10 + (_CHINESE_DIGITS.index(ones) + 1 if ones else 0))


def equal_hash(question: str) -> int:
    """The `equal` of a question's shape, alone."""
    return hash64(*words(_CHOICES.sub("", question)))


def shape_of(question: str) -> Shape:
    """The shape of `question`."""
    text = unicodedata.normalize("NFKC", _DRAWING.sub(" ", question))
    text = _CHOICES.sub("", _THOUSANDS.sub("", _TEXT_COMMAND.sub(" ", text)))
    text = _FRAC.sub(r"\\frac", _SETTING.sub(" ", text))
    text = _IN_WORDS.sub(lambda found: str(sum(_VALUES[word.lower()] for word in found.groups() if word)), text)
    text = _IN_CHINESE.sub(_value_in_chinese, text)
    tokens, is_text = _tokens(text)
    chinese = sum(1 for token, kind in zip(tokens, is_text, strict=True) if kind and token[0] >= "\u3400")
    size = GRAM_ZH if chinese * 2 > sum(is_text) else GRAM_EN
    numbers = Counter(_token_hash(number) & 0xFFFFFFFF for number in _NUMBER.findall(text))
    equal = equal_hash(question)
    template = hash64("template", *tokens) if len(tokens) >= _SHORTEST_TEMPLATE else 0
    count = len(tokens) - size + 1
    if count < 1:
        nothing = np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.uint8)
        return Shape(equal, template, *nothing, numbers, size)
    hashes = np.fromiter(map(_token_hash, tokens), dtype=np.uint64, count=len(tokens))
    kinds = np.array(is_text, dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(hashes, size)
    all_grams = ((windows * _COEFFICIENTS[:size]).sum(axis=1, dtype=np.uint64) >> np.uint64(32)).astype(np.uint32)
    grams, first = np.unique(all_grams, return_index=True)
    weights = np.lib.stride_tricks.sliding_window_view(kinds, size).sum(axis=1, dtype=np.uint8)[first]
    return Shape(equal, template, grams, weights, numbers, size)
