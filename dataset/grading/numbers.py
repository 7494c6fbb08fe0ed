"""How numbers are written: decimals, mixed and repeating ones, 1又1/2, 3分之2, digits in a base."""

from __future__ import annotations

from fractions import Fraction

from dataset.grading.cursor import Cursor
from dataset.grading.lexer import Token, Unreadable
from dataset.grading.names import FRACTIONS, NUMBER_WORDS
from dataset.grading.tree import App, Based, Node, Num, Words, text_of

MAX_DIGITS = 4_000  # Python refuses to read an integer of more than 4,300
MAX_EXPONENT = 400  # of a float as Python prints it; the largest is 308


def to_number(written: str) -> Num:
    """A decimal literal as an exact number that remembers how many digits were written."""
    mantissa, _, exponent = written.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    if len(whole) + len(decimals) > MAX_DIGITS:
        raise Unreadable(f"a number of more than {MAX_DIGITS} digits")
    if len(exponent) > 6 or abs(power := int(exponent or "0")) > MAX_EXPONENT:
        raise Unreadable(f"an exponent of {exponent[:10]}")
    digits = int((whole + decimals) or "0")
    value = (
        Fraction(digits) * Fraction(10) ** (power - len(decimals)) if power else Fraction(digits, 10 ** len(decimals))
    )
    significant = (whole + decimals).lstrip("0") if decimals else whole.strip("0")
    return Num(value, max(0, len(decimals) - power) if decimals or exponent else 0, len(significant))


class NumberReader(Cursor):
    """Everything that begins with a digit."""

    def number(self, token: Token) -> Node:
        """The number at `token`, which was taken, with what belongs to it."""
        based = self.based(self.position - 1)
        if based is not None:
            return based
        if self.is_command("overline", "dot", "bar") and "." in token.text:
            return self.repeating(token.text)
        number = to_number(token.text)
        if "." in token.text or "e" in token.text.lower():
            return number
        return self.with_fraction(number)

    def with_fraction(self, number: Num) -> Node:
        r"""An integer, or the mixed number that it begins: 1\frac12, "1 1/2", 1又1/2, 3分之2."""
        following = self.next
        if following.kind == "command" and following.text in FRACTIONS:
            self.take()
            top, bottom = self.digit_argument(), self.digit_argument()
            if isinstance(top, Num) and isinstance(bottom, Num):
                return App("add", (number, App("div", (top, bottom))))
            # Not read a second time as a factor: in nested fractions that would take exponential time.
            return App("mul", (number, self.raised(App("div", (top, bottom)))))
        if following.kind == "word" and following.text == "又":
            self.take()
            return App("add", (number, self.chinese_fraction(to_number(self.take_number()))))
        if following.kind == "word" and following.text == "分之":
            return self.chinese_fraction(number)
        if following.kind == "number" and following.spaced and self.after(("/",)):
            bottom_token = self.tokens[self.position + 2]
            if bottom_token.kind == "number" and "." not in following.text + bottom_token.text:
                self.position += 3
                return App("add", (number, App("div", (to_number(following.text), to_number(bottom_token.text)))))
        return number

    def take_number(self) -> str:
        if self.next.kind != "number":
            raise Unreadable(f"{self.next.text!r} where a number was expected")
        return self.take().text

    def digit_argument(self) -> Node:
        r"""As `argument`, but of an unbraced number only the first digit: \frac12 is one half."""
        token = self.next
        if token.kind == "number" and len(token.text) > 1:
            # The list of tokens is ours alone; a second reading after going back must see the same digits.
            self.tokens[self.position : self.position + 1] = [
                Token("number", token.text[0], token.spaced),
                Token("number", token.text[1:]),
            ]
        return self.argument()

    def chinese_fraction(self, first: Num) -> Node:
        """3分之2 is two thirds; 1/2 is itself."""
        if self.next.kind == "word" and self.next.text == "分之":
            self.take()
            return App("div", (to_number(self.take_number()), first))
        self.expect("/")
        return App("div", (first, to_number(self.take_number())))

    def repeating(self, written: str) -> Node:
        r"""0.1\overline{6}: the digits under the line go on for ever."""
        self.take()
        repeated = "".join(token.text for token in self.group()) if self.next.text == "{" else self.take_number()
        if not repeated.isdecimal() or not repeated.isascii() or len(repeated) > 100:
            raise Unreadable("a repeating part that is no number")
        _, _, decimals = written.partition(".")
        period = Fraction(10) ** len(repeated) - 1
        return Num(to_number(written).value + int(repeated) / (Fraction(10) ** len(decimals) * period))

    def based(self, start: int) -> Based | None:
        """Digits (and capital letters) with a subscript that is a base, from the token at `start`; else None."""
        at, digits = start, ""
        while self.tokens[at].kind in ("number", "letter", "word") and (at == start or not self.tokens[at].spaced):
            if self.tokens[at].kind != "number" and not self.tokens[at].text.isupper():
                return None
            digits += self.tokens[at].text
            at += 1
        said = self.tokens[at].kind == "word" and self.tokens[at].text.lower() == "base"
        if not said and self.tokens[at].text != "_":
            return None
        self.position = at + 1
        subscript = self.atom() if said else self.argument()
        if isinstance(subscript, Words) and subscript.text.lower() in NUMBER_WORDS:
            return Based(digits, NUMBER_WORDS[subscript.text.lower()])
        if isinstance(subscript, Num) and subscript.value.denominator == 1 and 2 <= subscript.value <= 36:
            return Based(digits, int(subscript.value))
        raise Unreadable(f"a number with the subscript {text_of(subscript)!r}")
