"""Refusal of training examples that ask what a benchmark asks.

An example is refused when its question and a benchmark's are
  * "same question": equal but for case, white space and punctuation;
  * "reworded": have the same numbers, and share half of the longer one, or 30 % where there are three numbers or more;
  * "part": one's numbers are among the other's, and three quarters of the shorter one stand in the other;
  * "renumbered": share 70 % of the longer one, whatever their numbers; or are equal but for their numbers, words and
    formulas alike, with six tokens at least.
What is shared is counted twice, in n-grams and in words of text (`dataset.mixture.shape`), and both must reach the
share; six to twelve words of text at least must be shared, half as many again in Chinese (characters).
Two rules need fewer: "whole", all of a benchmark's question, with its numbers, stands in the example's; and
"reworded" also holds where the same numbers stand in mostly the same formula (60 % of the n-grams, eight at least).
Questions too short for that are compared as a whole: each run of sentences of the example, and with another word of
asking before it ("Calculate" for "Compute"), where the benchmark's has a number or seven words.
So a formula, a phrase of the trade or the code of a drawing refuses nothing.

DeepSeekMath's filter (arXiv 2402.03300, section 2.1) removes every text that shares ten words in a row with a
benchmark. It was made for web pages. On questions it refuses phrases: docs/log.md has both, counted.

The questions come from files and from the fingerprints that ship with this package (`benchmarks.npz`, hashes alone).
A copy that was translated is found only where the translation is a benchmark itself (MGSM-zh for GSM8K).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset.mixture.shape import GRAM_ZH, Shape, equal_hash, shape_of
from dataset.mixture.words import words
from dataset.sources.reading import read_rows
from sandbox.errors import InputError

SHIPPED = Path(__file__).parent / "benchmarks.npz"
_QUESTION_FIELDS = ("question", "problem", "input", "original_text", "question_chinese", "Question", "Problem")


@dataclass(frozen=True, slots=True)
class Match:
    """Why an example is refused: the benchmark, its line, the rule, the share in common, and both texts.

    `asked` is the benchmark's own text, None where only its fingerprint is at hand.
    """

    benchmark: str
    line: int
    rule: str
    shared: float
    question: str
    asked: str | None


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    numbers: str  # "equal", "among" or "any"
    of_longer: bool
    share: float
    words: int
    fewest_numbers: int = 0


_RULES = (
    _Rule("reworded", "equal", True, 0.5, 8),
    _Rule("reworded", "equal", True, 0.3, 6, fewest_numbers=3),
    _Rule("part", "among", False, 0.75, 12, fewest_numbers=2),
    _Rule("renumbered", "any", True, 0.7, 10),
)
_WHOLE, _WHOLE_GRAMS = 0.9, 6  # the n-grams at the ends may differ: "Compute" for "Evaluate"
_WHOLE_WORDS = 7  # of a question without numbers
_FORMULA, _FORMULA_GRAMS, _FORMULA_NUMBERS = 0.6, 8, 2
_SENTENCES = re.compile(r"(?<=[.!?。！？])\s*(?![^\s$\\A-Z\u3400-\u9fff])|\n+")
_MOST_SENTENCES = 12
_OTHER_ASKS = ("Compute", "Evaluate", "Find", "Calculate", "Determine", "Simplify", "What is", "Find the value of")
_ASKS = re.compile(
    r"(?:compute|evaluate|find|calculate|determine|simplify|work out|what (?:is|would be))\s+", re.IGNORECASE
)
_FEWEST_WORDS = min(rule.words for rule in _RULES)


def asked_otherwise(question: str) -> Iterator[tuple[str, str]]:
    """Texts that may be a benchmark's question word for word, each with the rule by which it would be refused."""
    sentences = [sentence for sentence in _SENTENCES.split(question.strip()) if sentence]
    runs = [question]
    if 1 < len(sentences) <= _MOST_SENTENCES:
        for start in range(len(sentences)):
            runs += [" ".join(sentences[start:end]) for end in range(start + 1, len(sentences) + 1)]
    for run in runs:
        if run is not question:
            yield "whole", run
        if (asks := _ASKS.match(run)) is not None:
            yield from (("reworded", f"{other} {run[asks.end() :]}") for other in _OTHER_ASKS)


def question_of(row: Mapping[str, Any]) -> str:
    """The question in a row of a benchmark in any of the forms that the evaluator reads.

    Raises:
        InputError: there is none.
    """
    if isinstance(row.get("Body"), str) and isinstance(row.get("Question"), str):  # SVAMP
        return f"{row['Body'].strip()} {row['Question'].strip()}"
    for name in _QUESTION_FIELDS:
        if isinstance(row.get(name), str) and row[name].strip():
            return str(row[name])
    raise InputError(
        f"no question: expected a field {', '.join(_QUESTION_FIELDS[:4])}, or Body and Question; "
        f"found {', '.join(row) or 'none'}"
    )


def read_questions(path: Path) -> Iterator[tuple[int, str]]:
    """The questions of a benchmark file with their numbers: JSON Lines, a JSON array or Parquet.

    Raises:
        InputError: it cannot be read, a row has no question, or there is none at all.
    """
    number = 0
    for number, row in read_rows(path):
        if isinstance(row, str):
            raise InputError(f"{path}:{number}: {row}")
        try:
            yield number, question_of(row)
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None
    if not number:
        raise InputError(f"{path}: no questions in it")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One benchmark question."""

    benchmark: str
    line: int
    numbers: Counter[int]
    text: str | None


class Benchmarks:
    """The questions of benchmarks, to be asked about one example at a time.

    Raises:
        InputError: a file cannot be read, or has rows without a question; says which, in one line.
    """

    def __init__(self, paths: Sequence[Path], *, shipped: bool = False) -> None:
        self._asked: list[_Asked] = []
        self._equal: dict[int, int] = {}
        self._template: dict[int, int] = {}
        columns = _Columns()
        for path in paths:  # before the shipped ones: these can show their texts
            for line, question in read_questions(path):
                shape = shape_of(question)
                self._add(_Asked(path.name, line, shape.numbers, question), shape.equal, shape.template)
                columns.add(shape.grams, int(shape.weights.sum()))
        if shipped:
            self._add_shipped(columns)
        sizes = [len(grams) for grams in columns.grams]
        grams = np.concatenate([*columns.grams, np.zeros(0, dtype=np.uint32)])
        owners = np.repeat(np.arange(len(sizes)), sizes)
        order = np.argsort(grams, kind="stable")
        self._grams, self._owners = grams[order], owners[order]
        self._sizes = np.array(sizes, dtype=np.int64)
        self._weights = np.array(columns.weights, dtype=np.int64)

    def _add(self, asked: _Asked, equal: int, template: int) -> None:
        self._equal.setdefault(equal, len(self._asked))
        if template:
            self._template.setdefault(template, len(self._asked))
        self._asked.append(asked)

    def _add_shipped(self, columns: _Columns) -> None:
        with np.load(SHIPPED) as stored:
            names = [str(name) for name in stored["names"]]
            ends, number_ends = np.cumsum(stored["gram_counts"]), np.cumsum(stored["number_counts"])
            grams, numbers = stored["grams"], stored["numbers"]
            columns_of_places = ("benchmark", "line", "equal", "template")
            places = zip(*(stored[name].tolist() for name in columns_of_places), strict=True)
            weights = stored["weights"].tolist()
        for row, (benchmark, line, equal, template) in enumerate(places):
            first, first_number = (0, 0) if row == 0 else (ends[row - 1], number_ends[row - 1])
            counted = Counter(numbers[first_number : number_ends[row]].tolist())
            self._add(_Asked(names[benchmark], line, counted, None), equal, template)
            columns.add(grams[first : ends[row]], weights[row])

    def match(self, question: str) -> Match | None:
        """The benchmark's question that `question` asks, None if there is none."""
        shape = shape_of(question)
        if (found := self._equal.get(shape.equal)) is not None:
            return self._match(found, "same question", 1.0, question)
        if shape.template and (found := self._template.get(shape.template)) is not None:
            return self._match(found, "renumbered", 1.0, question)
        for rule, text in asked_otherwise(question):
            found = self._equal.get(equal_hash(text))
            if found is not None and (self._asked[found].numbers or len(words(text)) >= _WHOLE_WORDS):
                return self._match(found, rule, 1.0, question)
        if not len(shape.grams) or not len(self._grams):
            return None
        shared, shared_weight = self._shared(shape)
        fewest = _FEWEST_WORDS * shape.gram_words * (1.5 if shape.gram_words == GRAM_ZH else 1)
        mostly = (shared >= np.maximum(self._sizes * _WHOLE, _WHOLE_GRAMS)) | (
            shared >= np.maximum(self._sizes * _FORMULA, _FORMULA_GRAMS)
        )
        likely = np.flatnonzero((shared_weight >= fewest) | mostly)
        for row in likely[np.argsort(-shared_weight[likely], kind="stable")].tolist():
            if found_rule := self._rule(shape, row, int(shared[row]), int(shared_weight[row])):
                return self._match(row, *found_rule, question)
        return None

    def _match(self, row: int, rule: str, share: float, question: str) -> Match:
        asked = self._asked[row]
        return Match(asked.benchmark, asked.line, rule, round(share, 2), question, asked.text)

    def _shared(self, shape: Shape) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each benchmark question, the n-grams that `shape` shares with it, and the words of text in them."""
        low = np.searchsorted(self._grams, shape.grams, side="left")
        counts = np.searchsorted(self._grams, shape.grams, side="right") - low
        places = np.repeat(low - np.r_[0, np.cumsum(counts)[:-1]], counts) + np.arange(counts.sum())
        owners = self._owners[places]
        weights = np.repeat(shape.weights.astype(np.int64), counts)
        shared = np.bincount(owners, minlength=len(self._sizes))
        return shared, np.bincount(owners, weights, minlength=len(self._sizes)).astype(np.int64)

    def _rule(self, shape: Shape, row: int, shared: int, weight: int) -> tuple[str, float] | None:
        """The first rule that holds between `shape` and the question in `row`, and the share in common."""
        ours, theirs = shape.numbers, self._asked[row].numbers
        sizes = (len(shape.grams), int(self._sizes[row]))
        weights = (max(1, int(shape.weights.sum())), max(1, int(self._weights[row])))
        words_shared = weight / shape.gram_words / (1.5 if shape.gram_words == GRAM_ZH else 1)
        enough = theirs or words_shared >= _WHOLE_WORDS
        if shared >= max(_WHOLE * sizes[1], _WHOLE_GRAMS) and enough and theirs <= ours:
            return "whole", shared / sizes[1]
        alike = shared / max(sizes)
        if ours == theirs and ours.total() >= _FORMULA_NUMBERS and shared >= _FORMULA_GRAMS and alike >= _FORMULA:
            return "reworded", alike
        for rule in _RULES:
            if rule.numbers == "equal" and ours != theirs:
                continue
            if rule.numbers == "among" and not (ours <= theirs or theirs <= ours):
                continue
            if min(ours.total(), theirs.total()) < rule.fewest_numbers:
                continue
            pick = max if rule.of_longer else min
            share = min(shared / pick(sizes), weight / pick(weights))
            if share >= rule.share and words_shared >= rule.words:
                return rule.name, share
        return None


class _Columns:
    """The n-grams of each question, and how many words of text they hold together."""

    def __init__(self) -> None:
        self.grams: list[npt.NDArray[np.uint32]] = []
        self.weights: list[int] = []

    def add(self, grams: npt.NDArray[np.uint32], weight: int) -> None:
        self.grams.append(grams)
        self.weights.append(weight)


def shipped_names() -> dict[str, int]:
    """The benchmarks whose fingerprints ship with this package, and how many questions each has."""
    with np.load(SHIPPED) as stored:
        return dict(zip(map(str, stored["names"]), stored["rows"].tolist(), strict=True))
