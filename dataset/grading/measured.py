r"""What stands behind a value: units and nouns with their powers, thousands and millions, residues "(mod 17)"."""

from __future__ import annotations

import re
from fractions import Fraction

from dataset.grading import units
from dataset.grading.lexer import Token, Unreadable
from dataset.grading.names import EQUALS, NO_UNIT
from dataset.grading.operands import AtomReader
from dataset.grading.tree import App, Node, Num, Qty, text_of


def times(left: Node, right: Node) -> Node:
    """A product as one flat node, so that many factors do not make a deep tree."""
    if isinstance(left, App) and left.op == "mul":
        return App("mul", (*left.args, right))
    return App("mul", (left, right))


class UnitReader(AtomReader):
    """Everything that follows a product and measures it."""

    def with_unit(self, value: Node) -> Node | None:
        """`value` with the unit or noun that follows; None where none does."""
        if self.next.kind == "command" and self.next.text == "$":
            self.take()
            return Qty(value, "$")
        if self.next.kind == "sign" and self.next.text in "¥€£¢":
            return Qty(value, units.phrase(self.take().text))
        if self.next.text in ("pmod", "bmod", "mod") or (self.next.text == "(" and self.after(("mod",))):
            return Qty(value, f"mod {self.modulus()}")
        token = self.next
        if token.kind != "word" or token.text in EQUALS | {"to", "in", "比"}:
            return None
        value = self.multiplied(value)
        phrase = self.unit_words()
        if not phrase:
            return self.with_smaller(value) if self.next.kind == "number" else value
        found: Node = Qty(value, units.phrase(phrase))
        following = self.next
        if following.kind == "number":  # "2 hours 30 minutes", 5元6角
            self.deeper()
            smaller = self.product()
            self.shallower()
            if not isinstance(smaller, (Qty, App)):
                raise Unreadable(f"a number after {phrase!r}")
            found = App("add", (found, smaller))
        return found

    def with_smaller(self, value: Node) -> Node:
        """1万 with the 8千 that follows it."""
        self.deeper()
        rest = self.product()
        self.shallower()
        if isinstance(rest, Qty):
            return Qty(App("add", (value, rest.value)), rest.unit)
        return App("add", (value, rest))

    def modulus(self) -> str:
        """What "(mod 17)" and its like say a residue is modulo of."""
        bracketed = self.take().text == "("
        if bracketed:
            self.take()
        found = text_of(self.argument())
        if bracketed:
            self.expect(")")
        return found

    def multiplied(self, value: Node) -> Node:
        """`value` times the thousand, million, 万 or 亿 that follows it."""
        while self.next.kind == "word":
            word = self.next.text
            english = word.lower().rstrip("s") if word.isascii() else ""
            match = re.match(r"百万|千万|万|亿|百(?!分)|千(?![克米瓦卡])", word)
            name = english if english in units.MULTIPLIERS else match[0] if match else None
            if name is None:
                return value
            self.take()
            value = times(value, Num(Fraction(units.MULTIPLIERS[name])))
            if match and match.end() < len(word):
                self.position -= 1
                self.tokens[self.position] = Token("word", word[match.end() :], True)
        return value

    def unit_words(self) -> str:
        """The words of a unit or noun with their powers: "square units", "miles / hour", "bags of flour"."""
        words: list[str] = []
        while True:
            token = self.next
            word_follows = bool(words) and self.tokens[min(self.position + 1, len(self.tokens) - 1)].kind == "word"
            if token.kind == "word" or (token.text == "/" and word_follows):
                if token.text.lower() in NO_UNIT:
                    raise Unreadable(f"{token.text!r} after a number")
                words.append(self.take().text)
            elif token.text in ("-", "'", ".", "a") and word_follows:
                self.take()
            elif words and token.text == "^":
                self.take()
                exponent = self.argument()
                if not isinstance(exponent, Num):
                    raise Unreadable("a unit to a power that is no number")
                words[-1] += f"^{exponent.value}"
            else:
                return " ".join(words)
