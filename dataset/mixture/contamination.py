"""Refusal of training examples that share a problem with a benchmark.

Two rules, both on normalised words (`dataset.mixture.words`): the questions are equal; or the example's question
contains ten words in a row that a benchmark's question contains, as DeepSeekMath's own filter has it (arXiv 2402.03300,
section 2.1: "any text segment containing a 10-gram string that matches exactly with any sub-string from the evaluation
benchmarks is removed"). In Chinese, where a word here is one character, it is twenty in a row: ten characters are
about six words and are shared by problems that have nothing else in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.files import read_jsonl
from dataset.mixture.words import words
from sandbox.errors import InputError

GRAM_WORDS = 10
GRAM_CHARACTERS_ZH = 20
_QUESTION_FIELDS = ("question", "problem", "input", "original_text")


@dataclass(frozen=True, slots=True)
class Match:
    """Why an example is refused: the benchmark's file and line, and the words in common."""

    benchmark: str
    line: int
    rule: str
    shared: str


def _grams(question_words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    chinese = sum(word >= "\u3400" for word in question_words) * 2 > len(question_words)
    size = GRAM_CHARACTERS_ZH if chinese else GRAM_WORDS
    for start in range(len(question_words) - size + 1):
        yield question_words[start : start + size]


class Benchmarks:
    """The questions of benchmark files, to be asked about one example at a time.

    Raises:
        InputError: a file has rows without a question.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.names = [path.name for path in paths]
        # By Python's own hash of the words, which holds within this process and is several times faster than ours.
        self._equal: dict[int, tuple[int, int]] = {}
        self._grams: dict[int, tuple[int, int]] = {}
        for number, path in enumerate(paths):
            for line, row in read_jsonl(path):
                question = next((row[name] for name in _QUESTION_FIELDS if isinstance(row.get(name), str)), None)
                if question is None:
                    raise InputError(f"{path}:{line}: no question: expected a field {', '.join(_QUESTION_FIELDS)}")
                question_words = words(question)
                self._equal.setdefault(hash(question_words), (number, line))
                for gram in _grams(question_words):
                    self._grams.setdefault(hash(gram), (number, line))

    def match(self, question: str) -> Match | None:
        """The first thing that `question` shares with a benchmark, None if it shares nothing."""
        question_words = words(question)
        if found := self._equal.get(hash(question_words)):
            return Match(self.names[found[0]], found[1], "same question", " ".join(question_words))
        for gram in _grams(question_words):
            if found := self._grams.get(hash(gram)):
                return Match(self.names[found[0]], found[1], "shared words", " ".join(gram))
        return None
