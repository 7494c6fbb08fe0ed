"""Near-duplicates: MinHash signatures in bands to find the pairs, exact Jaccard similarity to decide them.

Compared are question and solution together, as sets of five-word shingles. Two examples can only be near-duplicates if
they agree in style and in the numbers of their questions: the same story with other numbers is another problem.
The library is datasketch; the bands are sorted in arrays (`dataset.mixture.select`) rather than kept in its index,
which needs gigabytes for a million rows.
"""

from __future__ import annotations

import zlib

import numpy as np
from datasketch import MinHash

from dataset.mixture.words import hash64, numbers, words
from dataset.types import Solution

# 16 bands of 8: of pairs with a similarity of 0.85 99 % are looked at, of 0.9 all but one in ten thousand.
BANDS, ROWS = 16, 8
_SHINGLE_WORDS = 5
_EMPTY = MinHash(num_perm=BANDS * ROWS, seed=1, hashfunc=zlib.crc32, scheme="affine32")

# A band's eight values as one number, modulo 2**64: sums of products with odd numbers drawn once.
_COEFFICIENTS = np.array([hash64("band", str(row)) | 1 for row in range(ROWS)], dtype=np.uint64)


def shingles(solution: Solution) -> set[bytes]:
    """The five-word stretches of question and solution; outputs are left out, they follow from the programs."""
    text = "\n".join(turn.text for turn in solution.turns if turn.kind != "output")
    text_words = words(solution.problem.question) + words(text)
    count = max(1, len(text_words) - _SHINGLE_WORDS + 1)
    return {" ".join(text_words[start : start + _SHINGLE_WORDS]).encode() for start in range(count)}


def bands(solution: Solution) -> list[int]:
    """`BANDS` hashes: near-duplicates share at least one of them, with high probability."""
    signature = MinHash(
        num_perm=BANDS * ROWS, seed=1, hashfunc=zlib.crc32, permutations=_EMPTY.permutations, scheme="affine32"
    )
    signature.update_batch(list(shingles(solution)))
    salt = hash64(solution.style, *numbers(words(solution.problem.question)))
    values = signature.hashvalues.astype(np.uint64).reshape(BANDS, ROWS)
    found: list[int] = ((values * _COEFFICIENTS).sum(axis=1, dtype=np.uint64) ^ np.uint64(salt)).tolist()
    return found


def similarity(one: Solution, other: Solution) -> float:
    """The Jaccard similarity of the two sets of shingles, 0 to 1."""
    left, right = shingles(one), shingles(other)
    return len(left & right) / len(left | right)
