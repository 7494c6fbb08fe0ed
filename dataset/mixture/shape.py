"""A question as what can be compared and published without its text: hashes of its n-grams and of its numbers.

Tokens are words, Chinese characters, single letters, LaTeX commands, signs, and "#" for every number. Only words of
two letters or more and Chinese characters are *text*; labels such as ABC, letters, commands and signs are formula.
Drawings ([asy] … [/asy], tikzpicture) are left out. An n-gram is three tokens, or six where most of the text is
Chinese; it weighs as many words as it has text. Renumbering a question, or changing its case, white space, punctuation
or full-width forms, changes no n-gram.
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
_TOKEN = re.compile(
    r"\\(?:begin|end)\s*\{[^{}]*\}|\\[a-zA-Z]+|\d+(?:\.\d+)?|[\u3400-\u9fff]|(?:(?![\u3400-\u9fff])[^\W\d_])+"
    r"|[-+*/=<>^%×÷|]"
)
_LONGEST_LABEL = 4  # ABCD: a figure, not a word
_COEFFICIENTS = np.array([hash64("gram", str(place)) | 1 for place in range(GRAM_ZH)], dtype=np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What is kept of a question.

    Attributes:
        equal: hash of all its words and numbers: the same for the same question in other punctuation.
        grams: distinct n-grams, uint32, sorted; `weights` the words of text in each, uint8.
        numbers: how often each number occurs, by its hash.
        gram_words: tokens in an n-gram, 3 or 6.
    """

    equal: int
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


def shape_of(question: str) -> Shape:
    """The shape of `question`."""
    text = unicodedata.normalize("NFKC", _DRAWING.sub(" ", question))
    text = _THOUSANDS.sub("", _TEXT_COMMAND.sub(" ", text))
    tokens, is_text = _tokens(text)
    chinese = sum(1 for token, kind in zip(tokens, is_text, strict=True) if kind and token[0] >= "\u3400")
    size = GRAM_ZH if chinese * 2 > sum(is_text) else GRAM_EN
    numbers = Counter(_token_hash(number) & 0xFFFFFFFF for number in _NUMBER.findall(text))
    count = len(tokens) - size + 1
    if count < 1:
        nothing = np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.uint8)
        return Shape(hash64(*words(question)), *nothing, numbers, size)
    hashes = np.fromiter(map(_token_hash, tokens), dtype=np.uint64, count=len(tokens))
    kinds = np.array(is_text, dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(hashes, size)
    all_grams = ((windows * _COEFFICIENTS[:size]).sum(axis=1, dtype=np.uint64) >> np.uint64(32)).astype(np.uint32)
    grams, first = np.unique(all_grams, return_index=True)
    weights = np.lib.stride_tricks.sliding_window_view(kinds, size).sum(axis=1, dtype=np.uint8)[first]
    return Shape(hash64(*words(question)), grams, weights, numbers, size)
