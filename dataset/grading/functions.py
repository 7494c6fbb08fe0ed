r"""Roots, constants and functions with what they are applied to: \sqrt[3]{x}, \sin^2 3x, \log_2 8, log(8, 2)."""

from __future__ import annotations

from fractions import Fraction

from dataset.grading.lexer import Unreadable
from dataset.grading.names import CONSTANTS, FUNCTIONS, GREEK
from dataset.grading.series import SeriesReader
from dataset.grading.tree import App, Node, Num, Seq, Sym

_ARGUMENTS = {"log": (1, 2), "root": (2,), "binomial": (2,)}  # how many a function takes; one, if it is not here


class FunctionReader(SeriesReader):
    """Everything that is applied to something."""

    def root(self) -> Node:
        if self.next.text != "[":
            return App("sqrt", (self.argument(),))
        self.take()
        degree = self.many(frozenset("]"))
        self.expect("]")
        return App("root", (self.argument(), degree))

    def named(self, name: str) -> Node:
        if name in CONSTANTS:
            return Sym(CONSTANTS[name])
        return self.function(name) if name in FUNCTIONS else self.constructor(name)

    def function(self, name: str) -> Node:
        """A function with what it is applied to: (…), {…}, or the factors that follow it."""
        power: Node | None = None
        base: Node | None = None
        while self.next.text in ("^", "_", "**"):
            if self.take().text == "_":
                base = self.argument()
            else:
                power = self.argument(signed=True)
        self.deeper()
        if self.next.text in ("(", "{", "["):
            inner = self.bracketed(self.take().text)
            arguments = inner.items if isinstance(inner, Seq) else (inner,)
        else:
            arguments = (self.bare_argument(),)
        self.shallower()
        if base is not None:
            arguments = (*arguments, base)
        if len(arguments) not in _ARGUMENTS.get(name, (1,)):
            raise Unreadable(f"{name} of {len(arguments)} arguments")
        if power == App("neg", (Num(Fraction(1), 0, 1),)) and name in ("sin", "cos", "tan"):
            return App(f"a{name}", arguments)
        node = App("a" + name[3:] if name.startswith("arc") else name, arguments)
        return node if power is None else App("pow", (node, power))

    def bare_argument(self) -> Node:
        """3x of "sin 3x": a product without signs, up to the next function."""
        factors = [self.unary() if self.next.text == "-" else self.power()]
        while (
            self.next.kind in ("letter", "number") or self.is_command("pi", "frac", *GREEK)
        ) and self.starts_factor():
            factors.append(self.power())
        return App("mul", tuple(factors)) if len(factors) > 1 else factors[0]
