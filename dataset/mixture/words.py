"""Text as a sequence of words, for telling whether two texts are the same.

A word is a number, a run of Latin letters, one Chinese character, or one sign of arithmetic: case, white space, other
punctuation, full-width forms and thousands separators do not matter; a changed number or sign does.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_WORD = re.compile(r"\d+(?:\.\d+)?|[a-zà-öø-ÿ]+|[\u3400-\u9fff]|[-+*/=<>^%×÷]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


@lru_cache(maxsize=16)  # a question is asked for by each rule in turn
def words(text: str) -> tuple[str, ...]:
    """The words of `text`."""
    return tuple(_WORD.findall(_THOUSANDS.sub("", unicodedata.normalize("NFKC", text)).lower()))


def numbers(text_words: Sequence[str]) -> tuple[str, ...]:
    """The numbers among the words, in their order: what tells apart two problems that tell the same story."""
    return tuple(word for word in text_words if word[0].isdigit())


def hash64(*parts: str) -> int:
    """A 64-bit hash of `parts`, the same on every machine."""
    text = "\0".join(parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
