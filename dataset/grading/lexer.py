r"""Characters to tokens, for LaTeX, Python and plain writing at once.

The one hard question is what a run of letters is: a function (`sqrt`), a constant (`pi`), a product of variables
(`xy`), a unit (`cm`) or a word (`bolts`). `\text{…}` says "words"; elsewhere the run's length, the tables and the
question decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dataset.grading import asked
from dataset.grading.surface import ROW_BREAK
from dataset.grading.units import MULTIPLIERS, UNITS, singular

Kind = Literal["number", "letter", "name", "word", "command", "sign", "row", "end"]


class Unreadable(ValueError):
    """The text is not in a notation that is known here; the message says where it stopped making sense."""


@dataclass(frozen=True, slots=True)
class Token:
    """`spaced`: white space stood before it. `name` is a known function or constant, `word` a unit, noun or label."""

    kind: Kind
    text: str
    spaced: bool = False


FUNCTIONS = frozenset(
    str.split(
        "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth asin acos atan "
        "acot asinh acosh atanh log ln lg exp sqrt cbrt root abs floor ceil ceiling factorial binomial gcd "
        "lcm max min conjugate re im det"
    )
)
# What Python and sympy print around values.
CONSTRUCTORS = frozenset(
    str.split(
        "rational fraction matrix mutabledensematrix immutablematrix immutabledensematrix array set frozenset "
        "list tuple finiteset interval union intersection complement eq float int integer decimal mpf mpc s "
        "point point2d point3d float64 float32 int64 int32 dict_values dict_keys emptyset"
    )
)
CONSTANTS = {"pi": "pi", "oo": "oo", "inf": "oo", "infty": "oo", "infinity": "oo"}
_JOINTS = frozenset({"and", "or"})
_LETTERS = re.compile(r"[A-Za-z]+")
_CJK = re.compile(r"[\u4e00-\u9fff々〇]+")
_NUMBER = re.compile(r"(?:\d+(?:,\d{3})+(?!\d)|\d+)(?:\.\d+|\.(?!\d|\.))?|\.\d+")
_NUMBER_IN_LIST = re.compile(r"\d+(?:\.\d+|\.(?!\d|\.))?|\.\d+")
_EXPONENT = re.compile(r"[eE][+-]?\d+(?![a-zA-Z\d])")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|textnormal|mbox|hbox|mathrm|operatorname\*?|mathbf|mathit|mathsf|"
    r"mathtt|mathcal|emph|underline|bm)(?![a-zA-Z])\s*"
)
_COMMAND = re.compile(r"\\(?:[a-zA-Z]+\*?|.)", re.DOTALL)
_TWO = ("**", "//", "<=", ">=", "!=", "==", "->")
MAX_TOKENS = 600


def tokens(text: str, question: str | None = None, *, commas_part: bool = False) -> list[Token]:
    """`text` (cleaned) as tokens, an end token last. `commas_part`: "1,234" is two numbers.

    Raises:
        Unreadable: more than `MAX_TOKENS` tokens.
    """
    found: list[Token] = []
    _scan(text, question, commas_part, found)
    found.append(Token("end", ""))
    return found


def _scan(text: str, question: str | None, commas_part: bool, found: list[Token]) -> None:
    position, depth = 0, 0
    spaced = False
    while position < len(text):
        if len(found) > MAX_TOKENS:
            raise Unreadable(f"more than {MAX_TOKENS} symbols")
        character = text[position]
        if character.isspace():
            spaced = True
            position += 1
            continue
        start = position
        if character.isdigit() and not character.isascii():
            raise Unreadable(f"the digit {character!r}")
        if character.isdigit() or (character == "." and text[position + 1 : position + 2].isdigit()):
            position = _number(text, position, commas_part or depth > 0, found, spaced)
        elif character == "\\":
            position = _command(text, position, question, found, spaced)
            depth += (text[start:position].startswith(r"\{")) - (text[start:position].startswith(r"\}"))
        elif match := _LETTERS.match(text, position):
            position = match.end()
            _letters(match[0], question, found, spaced)
        elif match := _CJK.match(text, position):
            position = match.end()
            _chinese(match[0], found, spaced)
        elif character == ROW_BREAK:
            found.append(Token("row", ROW_BREAK, spaced))
            position += 1
        else:
            pair = text[position : position + 2]
            sign = pair if pair in _TWO else character
            depth += (sign in "([") - (sign in ")]")
            found.append(Token("sign", sign, spaced))
            position += len(sign)
        spaced = False
        assert position > start


def _number(text: str, position: int, parted: bool, found: list[Token], spaced: bool) -> int:
    match = (_NUMBER_IN_LIST if parted else _NUMBER).match(text, position)
    assert match is not None
    end = match.end()
    written = match[0].replace(",", "")
    # "1e-05" is how Python prints; "7e" and "2e" keep e as a letter.
    if exponent := _EXPONENT.match(text, end):
        written += exponent[0]
        end = exponent.end()
    found.append(Token("number", written, spaced))
    return end


def _command(text: str, position: int, question: str | None, found: list[Token], spaced: bool) -> int:
    match = _TEXT.match(text, position)
    if match is None:
        match = _COMMAND.match(text, position)
        if match is None:  # a backslash at the very end
            return position + 1
        found.append(Token("command", match[0][1:], spaced))
        return match.end()
    bold = re.match(r"\\(?:mathbf|mathit|mathcal|bm|underline|mathsf|mathtt|emph)", text[position:]) is not None
    inner, end = braced(text, match.end())
    if bold or (re.search(r"\d|\\|[$%]", inner) and not re.search(r"[A-Za-z]{2}", inner)):
        _scan(inner, question, False, found)
    else:
        _words(inner, found, spaced)
    return end


def braced(text: str, position: int) -> tuple[str, int]:
    """What stands in the braces that open at `position`, and where they end; else the one character there."""
    if position >= len(text) or text[position] != "{":
        return text[position : position + 1], min(position + 1, len(text))
    depth, end = 0, position
    while end < len(text):
        if text[end] == "\\":
            end += 2
            continue
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
        if depth == 0:
            return text[position + 1 : end - 1], end
    return text[position + 1 :], len(text)


def _words(text: str, found: list[Token], spaced: bool) -> None:
    r"""The inside of \text{…}: words are words, even of one letter; numbers and signs are themselves."""
    for piece in re.finditer(r"[A-Za-z]+|[\u4e00-\u9fff]+|\d+(?:\.\d+)?|\S", text.replace("\\", " ")):
        token = piece[0]
        gap = spaced or piece.start() > 0
        if _LETTERS.match(token):
            _known(token, found, gap)
        elif _CJK.match(token):
            _chinese(token, found, gap)
        elif token[0].isdigit() and token.isascii():
            found.append(Token("number", token, gap))
        elif token not in ".,;:!?'\"" or piece.end() < len(
            text.rstrip()
        ):  # punctuation that ends a phrase says nothing
            found.append(Token("sign", token, gap))


def _known(run: str, found: list[Token], spaced: bool) -> None:
    lower = run.lower()
    if lower in _JOINTS:
        found.append(Token("sign", lower, spaced))
    elif lower in FUNCTIONS and lower not in ("re", "im", "max", "min", "set"):
        found.append(Token("name", lower, spaced))
    elif run in ("i", "e"):
        found.append(Token("letter", run, spaced))
    else:
        found.append(Token("word", run, spaced))


def _letters(run: str, question: str | None, found: list[Token], spaced: bool) -> None:
    after_value = bool(found) and (found[-1].kind in ("number", "letter", "name") or found[-1].text in ("}", ")", "$"))
    lower = run.lower()
    if lower in _JOINTS and len(found) > 0:
        found.append(Token("sign", lower, spaced))
    elif (
        lower in FUNCTIONS
        or run in CONSTANTS
        or lower in ("infinity", "infty")
        or (lower in CONSTRUCTORS and len(run) > 1)
    ):
        found.append(Token("name", lower, spaced))
    elif len(run) == 1:
        unit = after_value and lower in UNITS and _named(lower, question)
        found.append(Token("word" if unit else "letter", run, spaced))
    elif _is_word(run, question, after_value, spaced):
        found.append(Token("word", run, spaced))
    else:
        _product(run, found, spaced)


def _is_word(run: str, question: str | None, after_value: bool, spaced: bool) -> bool:
    lower = run.lower()
    if len(run) >= 4:
        return not _starts_with_function(lower)
    if after_value and (
        lower in UNITS or singular(lower) in UNITS or lower in MULTIPLIERS or lower in ("of", "per", "sq")
    ):
        return True
    if (run.isupper() and len(run) > 1) or lower == "mod":
        return True
    if asked.mentions(question, run) and (spaced or after_value):
        return True
    return len(run) == 3 and spaced and after_value and not _looks_like_variables(run)


def _looks_like_variables(run: str) -> bool:
    """Whether three letters look like variables side by side: no vowel, or neighbours in the alphabet."""
    return not set(run.lower()) & set("aeiouy") or run in ("abc", "xyz", "def", "ijk")


def _starts_with_function(run: str) -> bool:
    return any(run.startswith(name) and len(run) <= len(name) + 2 for name in FUNCTIONS if len(name) >= 3)


def _product(run: str, found: list[Token], spaced: bool) -> None:
    """Letters side by side: a function or constant glued to its neighbours ("sinx", "xpi"), else variables."""
    rest = run
    while rest:
        name = next((n for n in sorted(FUNCTIONS | {"pi"}, key=len, reverse=True) if rest.lower().startswith(n) and len(n) > 1
                     and (n not in ("re", "im", "lg"))), None)  # fmt: skip
        if name is not None:
            found.append(Token("name", name, spaced))
            rest = rest[len(name) :]
        else:
            found.append(Token("letter", rest[0], spaced))
            rest = rest[1:]
        spaced = False


def _named(unit: str, question: str | None) -> bool:
    """Whether a one-letter unit can be meant: the question names it in full."""
    full = {"m": "meter", "s": "second", "h": "hour", "g": "gram", "l": "liter", "t": "ton"}
    return unit in full and (
        asked.mentions(question, full[unit]) or asked.mentions(question, full[unit].replace("er", "re"))
    )


def _chinese(run: str, found: list[Token], spaced: bool) -> None:
    for piece in re.split(r"([或和与])", run):
        if piece in ("或", "和", "与") and piece:
            found.append(Token("sign", "or" if piece == "或" else "and", spaced))
        elif piece:
            found.append(Token("word", piece, spaced))
        spaced = False
