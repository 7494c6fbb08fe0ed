r"""Sums and products over an index, and definite integrals: \sum_{k=1}^{10} k, \prod_{i=1}^n i, \int_0^1 x^2\,dx.

A sum between whole numbers is written out. Any other becomes a node whose bound letter has a name of its own, so that
the letter chosen says nothing; `numeric` evaluates it.
"""

from __future__ import annotations

from dataset.grading import exact
from dataset.grading.brackets import BracketReader
from dataset.grading.lexer import Token, Unreadable
from dataset.grading.numbers import to_number
from dataset.grading.tree import BOUND, App, Node, Num, Qty, Rel, Sym, put

MAX_WRITTEN_OUT = 200  # terms; more are left to `numeric`
SERIES = {"sum": "sum", "prod": "prod"}
INTEGRALS = frozenset({"int", "smallint"})
_DIFFERENTIAL = Token("sign", "d of an integral")


class SeriesReader(BracketReader):
    """Everything that begins with a sum's, product's or integral's sign, which was taken."""

    def series(self, op: str) -> Node:
        r"""\sum_{k=1}^{n} of the product that follows; signs part it from what is outside."""
        low, high = self.limits()
        if not (isinstance(low, Rel) and low.ops == ("=",) and isinstance(low.sides[0], Sym)):
            raise Unreadable(f"a {op} without an index")
        index, first = low.sides[0].name, low.sides[1]
        body = self.product()
        if isinstance(body, Qty):
            raise Unreadable(f"a unit in a {op}")
        start, end = exact.rational(first), exact.rational(high)
        if start is not None and end is not None and start.denominator == end.denominator == 1:
            if end < start:
                raise Unreadable(f"a {op} that goes down")
            if end - start < MAX_WRITTEN_OUT and isinstance(index, str):
                terms = tuple(put(body, index, Num(start + step)) for step in range(int(end - start) + 1))
                return App({"sum": "add", "prod": "mul"}[op], terms)
        return self.bound(op, body, index, first, high)

    def integral(self) -> Node:
        r"""\int_a^b of the sum that follows up to "dx"; an integral without limits has no value."""
        low, high = self.limits()
        name = self.mark_differential()
        self.deeper()
        body = self.sum()
        self.shallower()
        if self.next is _DIFFERENTIAL:
            self.take()
        return self.bound("integral", body, name, low, high)

    def limits(self) -> tuple[Node, Node]:
        found: dict[str, Node] = {}
        while self.next.text in ("_", "^") and self.next.text not in found:
            sign = self.take().text
            if self.next.text == "{":
                self.take()
                found[sign] = self.many(frozenset("}"))
                self.expect("}")
            elif self.next.kind == "number":  # not as a mixed number with the fraction behind it
                found[sign] = to_number(self.take().text)
            else:
                found[sign] = self.argument(signed=True)
        if len(found) < 2:
            raise Unreadable("a sum or integral without limits")
        return found["_"], found["^"]

    def mark_differential(self) -> str:
        """The letter behind the next d; the two become a sign that ends the integrand, or a 1 inside of a fraction.

        Raises:
            Unreadable: there is none, or another integral comes first.
        """
        depth = 0
        for at in range(self.position, len(self.tokens) - 1):
            token, following = self.tokens[at], self.tokens[at + 1]
            depth += (token.text in ("{", "(", "[")) - (token.text in ("}", ")", "]"))
            if depth < 0 or (token.kind == "command" and token.text in INTEGRALS):
                break
            name = following.text if token.text == "d" and following.kind in ("letter", "word") else token.text[1:]
            if token.kind not in ("letter", "word") or token.text[0] != "d" or not (len(name) == 1 and name.isalpha()):
                continue
            width = 1 if len(token.text) == 2 else 2
            one = [Token("sign", "("), Token("number", "1"), Token("sign", ")")]
            self.tokens[at : at + width] = one if depth else [_DIFFERENTIAL]
            return name
        raise Unreadable("an integral without dx")

    def bound(self, op: str, body: Node, name: str, low: Node, high: Node) -> App:
        """The node of an operation that binds the letter `name`, under its name by depth."""
        inner = Sym(f"{BOUND}{self.depth}")
        return App(op, (put(body, name, inner), inner, low, high))
