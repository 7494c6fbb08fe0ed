r"""Characters to tokens, for LaTeX, Python and plain writing at once.

The one hard question is what a run of letters is: a function (`sqrt`), a constant (`pi`), a product of variables
(`xy`), a unit (`cm`) or a word (`bolts`). `\text{…}` says "words"; elsewhere the run's length, the tables of `names`
and `units`, and the question decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dataset.grading import question_hints, repair
from dataset.grading.names import COMMANDS, CONSTANTS, CONSTRUCTORS, FUNCTIONS, SMALL_WORDS
from dataset.grading.normalize import ROW_BREAK, braced
from dataset.grading.units import MULTIPLIERS, POWERS, UNITS, singular

Kind = Literal["number", "letter", "name", "word", "command", "sign", "row", "end"]
MAX_TOKENS = 600

_LETTERS = re.compile(r"[A-Za-z]+")
_CJK = re.compile(r"[\u4e00-\u9fff々〇]+")
_NUMBER = re.compile(r"(?:\d+(?:,\d{3})+(?!\d)|\d+)(?:\.\d+|\.(?!\d|\.))?|\.\d+", re.ASCII)
_NUMBER_IN_LIST = re.compile(r"\d+(?:\.\d+|\.(?!\d|\.))?|\.\d+", re.ASCII)
_EXPONENT = re.compile(r"[eE][+-]?\d+(?![a-zA-Z\d])", re.ASCII)
_TEXT = re.compile(
    r"\\(?:text|textrm|textsf|texttt|textnormal|mbox|hbox|mathrm|operatorname\*?|"
    r"(?P<styled>textbf|textit|mathbf|mathit|mathsf|mathtt|mathcal|emph|underline|bm))(?![a-zA-Z])\s*"
)
_COMMAND = re.compile(r"\\(?:[a-zA-Z]+|.)", re.DOTALL)
_PIECE = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]+|\d+(?:\.\d+)?|\S", re.ASCII)
_SHORT_UNITS = {
    "m": "meter", "s": "second", "h": "hour", "g": "gram", "l": "liter", "t": "ton", "j": "joule", "w": "watt"
}  # fmt: skip
_NUMBER_AND_LETTER = re.compile(r"-?\d[\d.,]*\s+[mshgl]\.?(?:\s*\^\s*[23])?")
_TWO = ("**", "//", "<=", ">=", "!=", "==", "->")
_OPERANDS = ("x", "y", "z", "A", "B", "C")
_GLUED = sorted((name for name in FUNCTIONS | {"pi"} if name != "lg"), key=len, reverse=True)


class Unreadable(ValueError):
    """The text is not in a notation that is known here; the message says where it stopped making sense."""


@dataclass(frozen=True, slots=True)
class Token:
    """`spaced`: white space stood before it. `name` is a known function or constant, `word` a unit, noun or label."""

    kind: Kind
    text: str
    spaced: bool = False


@dataclass(frozen=True, slots=True)
class Hints:
    """What helps to read an answer: its question, whether commas part numbers, the dimension of the unit expected."""

    question: str | None = None
    commas_part: bool = False
    dimension: str | None = None


def tokens(text: str, hints: Hints) -> list[Token]:
    """`text` (which `normalize.clean` has been over) as tokens, an end token last.

    Raises:
        Unreadable: more than `MAX_TOKENS` tokens.
    """
    lexer = _Lexer(hints)
    lexer.alone = _NUMBER_AND_LETTER.fullmatch(text) is not None
    lexer.scan(text, hints.commas_part)
    return [*lexer.found, Token("end", "")]


class _Lexer:
    def __init__(self, hints: Hints) -> None:
        self.hints = hints
        self.found: list[Token] = []
        self.spaced = False
        self.depth = 0  # of \text{\text{…}}
        self.alone = False  # a number and one letter, which the question does not have, is a quantity

    def add(self, kind: Kind, text: str) -> None:
        if len(self.found) >= MAX_TOKENS:
            raise Unreadable(f"more than {MAX_TOKENS} symbols")
        self.found.append(Token(kind, text, self.spaced))
        self.spaced = False

    def scan(self, text: str, parted: bool) -> None:
        """Add the tokens of `text`. `parted`: a comma between digits parts numbers here."""
        position = brackets = 0
        while position < len(text):
            character = text[position]
            start = position
            if character.isspace():
                self.spaced = True
                position += 1
            elif match := (_NUMBER_IN_LIST if parted or brackets > 0 else _NUMBER).match(text, position):
                position = self.number(text, match)
            elif character == "\\":
                position = self.command(text, position)
                command = text[start:position]
                brackets += command.startswith(r"\{") - command.startswith(r"\}")
            elif match := _LETTERS.match(text, position):
                position = match.end()
                self.letters(match[0])
            elif match := _CJK.match(text, position):
                position = match.end()
                self.chinese(match[0])
            elif character == ROW_BREAK:
                self.add("row", ROW_BREAK)
                position += 1
            else:
                pair = text[position : position + 2]
                sign = pair if pair in _TWO else character
                brackets += (sign in "([") - (sign in ")]")
                self.add("sign", sign)
                position += len(sign)

    def number(self, text: str, match: re.Match[str]) -> int:
        written, end = match[0].replace(",", ""), match.end()
        # "1e-05" is how Python prints; "7e" and "2e" keep e as a letter.
        if exponent := _EXPONENT.match(text, end):
            written += exponent[0]
            end = exponent.end()
        self.add("number", written)
        return end

    def command(self, text: str, position: int) -> int:
        match = _TEXT.match(text, position)
        if match is None:
            match = _COMMAND.match(text, position)
            if match is None:  # a backslash at the very end
                return position + 1
            name = match[0][1:]
            if (glued := repair.glued(name)) and name not in COMMANDS:
                self.add("command", glued)
                self.letters(name[len(glued) :])
            else:
                self.add("command", name)
            return match.end()
        inner, end = braced(text, match.end())
        self.depth += 1
        if self.depth > 20:
            raise Unreadable("text in text in text")
        formula = re.search(r"\d|\\|[$%]", inner) and not re.search(r"[A-Za-z]{2}", inner)
        if match["styled"] or formula:
            self.scan(inner, parted=False)
        else:
            self.words(inner)
        self.depth -= 1
        return end

    def words(self, text: str) -> None:
        r"""The inside of \text{…}: words are words, even of one letter; numbers and signs are themselves."""
        last = len(text.rstrip())
        for piece in _PIECE.finditer(text.replace("\\", " ")):
            token = piece[0]
            self.spaced = self.spaced or piece.start() > 0
            if _LETTERS.match(token):
                self.known_word(token)
            elif _CJK.match(token):
                self.chinese(token)
            elif token[0].isdecimal() and token.isascii():
                self.add("number", token)
            elif token not in ".,;:!?'\"" or piece.end() < last:  # punctuation that ends a phrase says nothing
                self.add("sign", token)

    def known_word(self, run: str) -> None:
        lower = run.lower()
        if lower in ("and", "or"):
            self.add("sign", lower)
        elif lower in FUNCTIONS:
            self.add("name", lower)
        elif run in ("i", "e"):
            self.add("letter", run)
        else:
            self.add("word", run)

    def letters(self, run: str) -> None:
        """A run of letters outside of \\text{…}."""
        lower = run.lower()
        last = self.found[-1] if self.found else None
        after_value = last is not None and (
            last.kind in ("number", "letter", "name") or last.text in ("}", ")", "$", "pi")
        )
        if lower in ("and", "or") and self.found:
            self.add("sign", lower)
        elif last is not None and last.text.lower() in POWERS and lower in UNITS:  # "sq m"
            self.add("word", run)
        elif lower in FUNCTIONS or run in CONSTANTS or lower in ("infinity", "infty") or lower in CONSTRUCTORS:
            self.add("name", lower)
        elif len(run) == 1:
            self.add("word" if after_value and self.short_unit(lower) else "letter", run)
        elif self.is_word(run, after_value):
            self.add("word", run)
        else:
            self.product(run)

    def is_word(self, run: str, after_value: bool) -> bool:
        lower = run.lower()
        if len(run) >= 4:
            # "sinx" is a function of x, "cost" is a word.
            return not any(run.startswith(name) and run[len(name) :] in _OPERANDS for name in FUNCTIONS)
        if lower in SMALL_WORDS or run.isupper():
            return True
        if after_value and (lower in UNITS or singular(lower) in UNITS or lower in MULTIPLIERS):
            return True
        if (self.spaced or after_value) and question_hints.mentions(self.hints.question, run):
            return True
        # "5 men": three letters after a space; without a vowel, or in the alphabet's order, they are variables.
        variables = not set(lower) & set("aeiouy") or lower in ("abc", "xyz", "def", "ijk")
        return len(run) == 3 and self.spaced and after_value and not variables

    def short_unit(self, letter: str) -> bool:
        """Whether m, s, g … after a number is a unit: the reference or the question has it, else it is a variable."""
        full = _SHORT_UNITS.get(letter)
        if full is None:
            return False
        if (
            self.alone
            and self.hints.question
            and not re.search(rf"(?<![a-zA-Z]){letter}(?![a-zA-Z])", self.hints.question)
        ):
            return True
        measured, wanted = UNITS[letter][0], self.hints.dimension
        if measured == wanted or (measured == "length" and wanted in ("area", "volume")):
            return True
        question = self.hints.question
        return question_hints.mentions(question, full) or (
            full.endswith("er") and question_hints.mentions(question, full[:-2] + "re")
        )

    def product(self, run: str) -> None:
        """Letters side by side: a function or constant glued to its neighbours ("sinx", "xpi"), else variables."""
        rest = run
        while rest:
            name = next((name for name in _GLUED if rest.lower().startswith(name)), None)
            if name is not None:
                self.add("name", name)
                rest = rest[len(name) :]
            else:
                self.add("letter", rest[0])
                rest = rest[1:]

    def chinese(self, run: str) -> None:
        for piece in filter(None, re.split(r"([或和与])", run)):
            if piece in "或和与":
                self.add("sign", "or" if piece == "或" else "and")
            else:
                self.add("word", piece)
