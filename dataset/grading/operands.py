"""The innermost level of the grammar: one operand, with its powers, signs and subscripts."""

from __future__ import annotations

from fractions import Fraction

from dataset.grading import units
from dataset.grading.cursor import MAX_DEPTH
from dataset.grading.functions import FunctionReader
from dataset.grading.lexer import Token, Unreadable
from dataset.grading.names import (
    BARS,
    BINOMIALS,
    CONSTANTS,
    ENCLOSED,
    EQUALS,
    FRACTIONS,
    FUNCTION_LETTERS,
    FUNCTIONS,
    GREEK,
    LABELS,
    WRAPPERS,
)
from dataset.grading.numbers import to_number
from dataset.grading.series import INTEGRALS, SERIES
from dataset.grading.tree import App, Node, Num, Qty, Seq, Sym, Words, text_of

_BEGIN_FACTOR = (
    FRACTIONS | BINOMIALS | GREEK | FUNCTIONS | ENCLOSED.keys()
    | SERIES.keys() | INTEGRALS | {"pi", "surd", "infty", "lvert", "begin", "mathbb", "boxed", "imath"}
)  # fmt: skip
_CURRENCIES = frozenset({"dollars", "yuan", "euros", "pounds sterling", "rupees"})
_POWER_SIGNS = ("^", "**")
_ARROWS = frozenset({"hat", "vec", "overrightarrow", "boldsymbol", "widehat", "mathbf", "bm"})
_ANY_VECTOR = ("vec", "overrightarrow")
_UNIT_VECTORS = {"i": Sym("i"), "j": Sym("j"), "k": Sym("k"), "imath": Sym("i"), "jmath": Sym("j")}


class AtomReader(FunctionReader):
    """Reads one operand at a time."""

    def starts_factor(self) -> bool:
        """Whether the next token can stand beside the last one as a factor."""
        token = self.next
        if token.kind in ("letter", "name"):
            return not (token.text in "Uu" and self.after(("(", "[")))
        if token.kind == "number":
            before = self.tokens[self.position - 1]
            raised = self.tokens[self.position - 2].text in _POWER_SIGNS or self.after(_POWER_SIGNS)
            return before.kind != "number" or (token.spaced and raised)  # 2^6 3^5
        if token.kind == "sign":
            return token.text in ("(", "[", "{") or (token.text == "|" and self.bars == 0)
        return token.kind == "command" and (token.text in _BEGIN_FACTOR or self.unit_vector(1) is not None)

    def power(self) -> Node:
        return self.raised(self.atom())

    def raised(self, operand: Node) -> Node:
        """`operand` with the signs and powers that follow it."""
        base = self.postfix(operand)
        if self.next.text not in _POWER_SIGNS:
            return base
        python = self.take().text == "**"
        if self.takes_circle():
            return self.postfix(self.with_minutes(App("deg", (base,))))
        self.deeper()
        exponent = self.unary() if python else self.argument(signed=True)
        if self.next.text in _POWER_SIGNS:  # a tower
            self.take()
            exponent = App("pow", (exponent, self.argument(signed=True)))
        self.shallower()
        if exponent == Words("prime"):
            return base
        return self.postfix(App("pow", (base, exponent)))

    def with_minutes(self, degrees: App) -> Node:
        """30°15'20": degrees with the minutes and seconds of arc that follow them."""
        parts, scale = [*degrees.args], Fraction(1)
        for _ in range(2):
            scale /= 60
            end = self.position + 1
            if self.next.kind != "number" or not (scale < Fraction(1, 60) or self.primes(end)):
                break
            parts.append(App("mul", (to_number(self.take().text), Num(scale))))
            self.position += self.primes(self.position)
        return degrees if len(parts) == 1 else App("deg", (App("add", tuple(parts)),))

    def primes(self, at: int) -> int:
        r"""How many tokens from `at` are the sign of minutes or seconds: ', '', ", ^\prime, ^{\prime\prime}."""
        start = at
        while self.tokens[at].text in ("'", '"'):
            at += 1
        if at == start and self.tokens[at].text == "^":
            inner = at + 1 + (self.tokens[at + 1].text == "{")
            end = inner
            while self.tokens[end].text in ("prime", "'"):
                end += 1
            if end > inner:
                at = end + (self.tokens[at + 1].text == "{")
        return at - start

    def takes_circle(self) -> bool:
        """Takes a degree's circle, braced or bare, if it is next."""
        at = self.position
        braced = self.tokens[at].text == "{"
        at += braced
        if self.tokens[at].text not in ("circ", "degree") or (braced and self.tokens[at + 1].text != "}"):
            return False
        self.position = at + 1 + braced
        if self.next.text in ("C", "F") and self.next.kind in ("letter", "word"):
            self.take()
        return True

    def postfix(self, node: Node) -> Node:
        for _ in range(MAX_DEPTH):
            text = self.next.text
            if text == "!" and self.next.kind == "sign":
                node = App("factorial", (node,))
            elif text == "%":
                node = Qty(node, "%")
            elif self.is_command("degree", "textdegree"):
                self.take()
                node = self.with_minutes(App("deg", (node,)))
                continue
            elif text == "'" and isinstance(node, Sym):
                node = Sym(node.name + "'")
            elif text == "_" and isinstance(node, (Sym, Words)):
                self.take()
                node = Sym(f"{text_of(node)}_{text_of(self.argument())}")
                continue
            else:
                return node
            self.take()
        raise Unreadable(f"more than {MAX_DEPTH} signs after one number")

    def argument(self, *, signed: bool = False) -> Node:
        """A braced group, or the one number, letter or command that stands without braces."""
        if self.next.text == "{" and self.next.kind == "sign":
            self.take()
            node = self.many(frozenset("}"))
            self.expect("}")
            return node
        if signed and self.next.text in ("-", "+"):
            return App("neg", (self.argument(),)) if self.take().text == "-" else self.argument()
        return self.atom()

    def atom(self) -> Node:
        self.deeper()
        token = self.take()
        if token.kind == "number":
            node = self.number(token)
        elif token.kind == "letter":
            node = self.letter(token)
        elif token.kind == "name":
            node = self.named(token.text)
        elif token.kind == "word":
            node = self.words(token)
        elif token.kind == "command":
            node = self.command(token.text)
        else:
            node = self.sign(token.text)
        self.shallower()
        return node

    def letter(self, token: Token) -> Node:
        if token.text.isupper() and (based := self.letters_in_base()) is not None:
            return based
        if token.text in ("i", "I") or (token.text == "j" and self.j_is_i):
            return Sym("i")
        if token.text in ("E", "D") and self.after(("X", "Y"), 1) and self.after((")",), 2) and self.next.text == "(":
            self.position += 3
            return Sym(f"{token.text}({self.tokens[self.position - 2].text})")  # of a random variable
        if token.text in ("e", "E"):
            return Sym("e")
        # f(3) is a function's value, x(x + 1) a product; y(t) is a function's where it is what is being given.
        given = self.after((")",), 2) and self.after(("=",), 3)
        if token.text.isupper() and self.next.text == "(" and (point := self.named_point()) is not None:
            return point
        if (token.text in FUNCTION_LETTERS or given) and self.next.text == "(" and not self.next.spaced:
            self.take()
            inner = self.many(frozenset(")"))
            self.expect(")")
            return Sym(f"{token.text}({text_of(inner)})")
        return Sym(token.text)

    def named_point(self) -> Seq | None:
        """The coordinates in M(2, 0); None, and nothing taken, where there are not two or three."""
        depth = commas = 0
        for token in self.tokens[self.position :]:
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            commas += token.text == "," and depth == 1
            if depth == 0:
                break
        if depth or not 1 <= commas <= 2:
            return None
        found = self.bracketed(self.take().text)
        return found if isinstance(found, Seq) else None

    def letters_in_base(self) -> Node | None:
        """Digits that begin with a letter, as in AB_{16}: only before a subscript that is a number over ten."""
        at = self.position
        while self.tokens[at].kind in ("number", "letter", "word") and not self.tokens[at].spaced:
            at += 1
        if self.tokens[at].text != "_":
            return None
        subscript = self.tokens[min(at + 1 + (self.tokens[at + 1].text == "{"), len(self.tokens) - 1)]
        large = subscript.kind == "number" and subscript.text.isdecimal() and 10 < int(subscript.text[:3]) <= 36
        return self.based(self.position - 1) if large else None

    def words(self, token: Token) -> Node:
        """A currency before its amount, or words with no value."""
        unit = units.phrase(token.text)
        currency = units.scale(unit)
        if currency is not None and currency[0] in _CURRENCIES:
            if self.next.text == ".":
                self.take()
            if self.next.kind == "number":
                return Qty(self.unary(), unit)
        said = [token.text]
        while self.next.kind == "word" and self.next.text not in EQUALS | {"to"}:
            said.append(self.take().text)
        return Words(" ".join(said))

    def sign(self, text: str) -> Node:
        if text in ("(", "[", "{"):
            return self.bracketed(text)
        if text == "|":
            return self.enclosed("|", "abs")
        if text in ("¥", "€", "£", "₹"):
            return Qty(self.unary(), units.phrase(text))
        raise Unreadable(f"{text!r} was not expected")

    def command(self, name: str) -> Node:
        if name in FRACTIONS:
            return App("div", (self.digit_argument(), self.digit_argument()))
        if name in BINOMIALS:
            return App("binomial", (self.digit_argument(), self.digit_argument()))
        if name in ("sqrt", "surd"):
            return self.root()
        if name in CONSTANTS or name in FUNCTIONS:
            return self.named(name)
        if name in GREEK:
            return Sym(name.removeprefix("var"))
        if name in ("{", "lbrace") and self.is_command("begin"):
            return self.system()
        if name in ("{", "lbrace", "langle", "lbrack"):
            return self.bracketed(name if name != "{" else "lbrace", visible=name in ("{", "lbrace"))
        if name in BARS:
            return self.enclosed(BARS[name], "abs")
        if name in ENCLOSED:
            return self.enclosed(*ENCLOSED[name])
        if name == "begin":
            return self.environment()
        if name == "$":
            return Qty(self.unary(), "$")
        if name in ("emptyset", "varnothing"):
            return Seq("{", (), "}")
        if name == "mathbb":
            return Sym(text_of(self.argument()) * 2)
        if (vector := self.unit_vector(0)) is not None:
            self.group() if self.next.text == "{" else self.take()
            return vector
        if name in LABELS:
            return self.label_of(name)
        if name in SERIES:
            return self.series(SERIES[name])
        if name in INTEGRALS:
            return self.integral()
        if name == "prime":
            return Words(name)
        if name in WRAPPERS:
            return self.argument()
        raise Unreadable(f"\\{name} is not known")

    def unit_vector(self, ahead: int) -> Sym | None:
        r"""The letter under a hat or arrow, i of \hat{\imath}, if the command stands `ahead` - 1 tokens from here."""
        at = self.position + ahead
        if self.tokens[at - 1].text not in _ARROWS:
            return None
        opened = self.tokens[at].text == "{"
        letter = self.tokens[at + opened]
        if opened and self.tokens[at + 2].text != "}":
            return None
        if letter.text in _UNIT_VECTORS or letter.kind != "letter" or self.tokens[at - 1].text not in _ANY_VECTOR:
            return _UNIT_VECTORS.get(letter.text)
        return Sym(f"vector {letter.text}")

    def label_of(self, name: str) -> Words:
        r"""\angle ABC, \overline{CD}: names of things, not values."""
        said = text_of(self.argument())
        while self.next.kind in ("letter", "word") and not self.next.spaced:
            said += self.take().text
        return Words(f"{name} {said}")
