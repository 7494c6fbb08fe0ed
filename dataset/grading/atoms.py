"""The innermost level of the grammar: numbers, letters, brackets, LaTeX commands, functions, Python's constructors."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from dataset.grading import units
from dataset.grading.lexer import CONSTANTS, CONSTRUCTORS, FUNCTIONS, Token, Unreadable
from dataset.grading.tree import App, Based, Many, Mat, Node, Num, Qty, Rel, Seq, Sym, Words

MAX_DEPTH = 40
MAX_EXPONENT = 400  # of a float as Python prints it; the largest is 308
_OPENERS = {"(": ")", "[": "]", "lbrack": "]", "{": "}", "lbrace": "}", "langle": "rangle"}
_CLOSERS = frozenset({")", "]", "}", "rbrack", "rbrace", "rangle"})
_BARS = {"|": "|", "vert": "vert", "lvert": "rvert", "mid": "mid"}
_ENCLOSED = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
_FRACTIONS = frozenset({"frac", "dfrac", "tfrac", "cfrac"})
_BINOMIALS = frozenset({"binom", "dbinom", "tbinom"})
_LABELS = frozenset(
    str.split(
        "angle measuredangle triangle overline overrightarrow overleftrightarrow widehat hat bar vec "
        "widetilde tilde arc underline square odot parallel perp"
    )
)
_IGNORED = frozenset({"hline", "mathstrut", "!", "boxed", "fbox", "mathop", "mathbin", "mathrel", "ensuremath", "math"})
_GREEK = frozenset(
    str.split(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho "
        "sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"
    )
)
_FUNCTION_LETTERS = frozenset("fghFGHPp")
_NUMBER_WORDS = dict(zip(
    str.split("two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"), range(2, 17),
    strict=True,
))  # fmt: skip


def to_number(written: str) -> Num:
    """A decimal literal as an exact number that remembers how many digits were written."""
    mantissa, _, exponent = written.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    if len(whole) + len(decimals) > 4000:  # Python's own limit for reading an integer is 4,300 digits
        raise Unreadable("a number of more than 4,000 digits")
    if abs(power := int(exponent or "0")) > MAX_EXPONENT:
        raise Unreadable(f"an exponent of {power}")
    value = Fraction(int((whole + decimals) or "0")) * Fraction(10) ** (power - len(decimals))
    places = len(decimals) if not exponent else max(0, len(decimals) - power)
    return Num(value, places, len((whole + decimals).strip("0") if not decimals else (whole + decimals).lstrip("0")))


class AtomReader:
    """Reads one operand at a time. The levels above are `Parser`'s, which this calls through `many` and `relation`."""

    many: Callable[..., Node]
    unary: Callable[[], Node]

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.bars = 0
        letters = [index for index, token in enumerate(tokens) if token.kind == "letter"]
        # "(8-1j)": Python's own complex print. A j beside other letters is a variable.
        self.j_is_i = bool(letters) and all(
            tokens[at].text == "j" and at > 0 and tokens[at - 1].kind == "number" and not tokens[at].spaced
            for at in letters
        )

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def take(self) -> Token:
        token = self.tokens[self.position]
        if token.kind == "end":
            raise Unreadable("it ends too early")
        self.position += 1
        return token

    def after(self, texts: tuple[str, ...], distance: int = 1) -> bool:
        """Whether the token `distance` after the next one is one of `texts`."""
        at = self.position + distance
        return at < len(self.tokens) and self.tokens[at].text in texts

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep")

    def shallower(self) -> None:
        self.depth -= 1

    def expect(self, *texts: str) -> Token:
        if self.next.text not in texts or self.next.kind == "end":
            raise Unreadable(f"{self.next.text!r} where {texts[0]!r} was expected")
        return self.take()

    # -- what begins an operand ---------------------------------------------------------------------------------

    def starts_factor(self) -> bool:
        """Whether the next token can stand beside the last one as a factor."""
        token = self.next
        if token.kind in ("letter", "name"):
            return not (token.text in "Uu" and self.after(("(", "[")))
        if token.kind == "number":
            return self.position > 0 and not (self.tokens[self.position - 1].kind == "number")
        if token.kind == "sign":
            return token.text in ("(", "[", "{") or (token.text == "|" and self.bars == 0)
        if token.kind == "command":
            return token.text in (
                _FRACTIONS | _BINOMIALS | _GREEK | FUNCTIONS | _ENCLOSED.keys()
                | {"pi", "surd", "infty", "left", "lvert", "begin", "mathbb", "boxed", "imath", "operatorname"}
            )  # fmt: skip
        return False

    def power(self) -> Node:
        base = self.postfix(self.atom())
        if self.next.text not in ("^", "**") or self.next.kind != "sign":
            return base
        python = self.take().text == "**"
        if self.is_circle():
            return self.postfix(App("deg", (base,)))
        self.deeper()
        if python:
            exponent = self.unary()
        else:
            exponent = self.argument(signed=True)
            if self.next.text in ("^", "**"):  # a tower
                self.take()
                exponent = App("pow", (exponent, self.argument(signed=True)))
        self.shallower()
        if exponent == Words("prime"):
            return base
        return self.postfix(App("pow", (base, exponent)))

    def is_circle(self) -> bool:
        """Takes a degree's circle, braced or bare, if it is next."""
        at = self.position
        braced = self.tokens[at].text == "{"
        at += braced
        if self.tokens[at].text not in ("circ", "degree", "o"):
            return False
        if braced and self.tokens[at + 1].text != "}":
            return False
        self.position = at + 1 + braced
        if self.next.text in ("C", "F") and self.next.kind in ("letter", "word"):
            self.take()
        return True

    def postfix(self, node: Node) -> Node:
        for _ in range(MAX_DEPTH):
            token = self.next
            if token.text == "!" and token.kind == "sign":
                self.take()
                node = App("factorial", (node,))
            elif token.text == "%" and token.kind in ("sign", "command"):
                self.take()
                node = Qty(node, "%")
            elif token.text in ("degree", "textdegree") and token.kind == "command":
                self.take()
                node = App("deg", (node,))
            elif token.text == "'" and isinstance(node, Sym):
                self.take()
                node = Sym(node.name + "'")
            elif token.text == "_" and isinstance(node, (Sym, Words)):
                self.take()
                name = node.name if isinstance(node, Sym) else node.text
                node = Sym(f"{name}_{text_of(self.argument())}")
            else:
                return node
        raise Unreadable(f"more than {MAX_DEPTH} signs after one number")

    def argument(self, *, signed: bool = False) -> Node:
        """A braced group, or the one digit, letter or command that LaTeX takes without braces."""
        if self.next.text == "{" and self.next.kind == "sign":
            self.take()
            node = self.many(frozenset("}"))
            self.expect("}")
            return node
        if signed and self.next.text in ("-", "+"):
            return App("neg", (self.argument(),)) if self.take().text == "-" else self.argument()
        return self.atom()

    def digit_argument(self) -> Node:
        r"""As `argument`, but of an unbraced number only the first digit: \frac12 is one half."""
        token = self.next
        if token.kind == "number" and len(token.text) > 1:
            self.tokens[self.position] = Token("number", token.text[1:])
            return to_number(token.text[0])
        return self.argument()

    # -- atoms -------------------------------------------------------------------------------------------------

    def atom(self) -> Node:
        self.deeper()
        try:
            token = self.take()
            if token.kind == "number":
                return self.number(token)
            if token.kind == "letter":
                return self.letter(token)
            if token.kind == "name":
                return self.named(token.text)
            if token.kind == "word":
                return self.words(token)
            if token.kind == "command":
                return self.command(token.text)
            return self.bracket(token.text)
        finally:
            self.shallower()

    def number(self, token: Token) -> Node:
        if (based := self.based(self.position - 1)) is not None:
            return based
        number = to_number(token.text)
        following = self.next
        if following.text in ("overline", "dot", "bar") and "." in token.text:
            return self.repeating(token.text)
        whole = "." not in token.text and "e" not in token.text.lower()
        if whole and following.kind == "command" and following.text in _FRACTIONS:
            at = self.position
            self.take()
            top, bottom = self.digit_argument(), self.digit_argument()
            if isinstance(top, Num) and isinstance(bottom, Num):
                return App("add", (number, App("div", (top, bottom))))
            self.position = at
        if whole and following.kind == "word" and following.text == "又":
            self.take()
            return App("add", (number, self.chinese_fraction(to_number(self.take_number()))))
        if whole and following.kind == "word" and following.text.startswith("分之"):
            return self.chinese_fraction(number)
        if whole and following.kind == "number" and following.spaced:
            rest = [token.text for token in self.tokens[self.position : self.position + 3]]
            if rest[1] == "/" and self.tokens[self.position + 2].kind == "number" and "." not in rest[0] + rest[2]:
                self.position += 3
                return App("add", (number, App("div", (to_number(rest[0]), to_number(rest[2])))))
        return number

    def take_number(self) -> str:
        if self.next.kind != "number":
            raise Unreadable(f"{self.next.text!r} where a number was expected")
        return self.take().text

    def chinese_fraction(self, first: Num) -> Node:
        """3分之2 is two thirds; 1/2 is itself."""
        if self.next.kind == "word" and self.next.text == "分之":
            self.take()
            return App("div", (to_number(self.take_number()), first))
        if self.next.text == "/":
            self.take()
            return App("div", (first, to_number(self.take_number())))
        raise Unreadable("又 without a fraction")

    def repeating(self, written: str) -> Node:
        self.take()
        repeated = self.argument()
        if not isinstance(repeated, Num) or repeated.value.denominator != 1:
            raise Unreadable("a repeating part that is no number")
        previous = self.tokens[self.position - 2].text if self.tokens[self.position - 1].text == "}" else ""
        length = len(previous) if previous.isdecimal() else len(str(repeated.value))
        _, _, decimals = written.partition(".")
        start = to_number(written).value
        return Num(start + repeated.value / (Fraction(10) ** len(decimals) * (Fraction(10) ** length - 1)))

    def based(self, start: int) -> Based | None:
        """Digits (and capital letters) with a subscript that is a base, from the token at `start`; else None."""
        at, digits = start, ""
        while self.tokens[at].kind in ("number", "letter", "word") and (at == start or not self.tokens[at].spaced):
            if self.tokens[at].kind != "number" and not self.tokens[at].text.isupper():
                return None
            digits += self.tokens[at].text
            at += 1
        if self.tokens[at].text == "_":
            self.position = at + 1
            subscript = self.argument()
        elif self.tokens[at].text.lower() == "base" and self.tokens[at].kind == "word":
            self.position = at + 1
            subscript = self.atom()
        else:
            return None
        if isinstance(subscript, Words) and subscript.text.lower() in _NUMBER_WORDS:
            return Based(digits, _NUMBER_WORDS[subscript.text.lower()])
        if isinstance(subscript, Num) and subscript.value.denominator == 1 and 2 <= subscript.value <= 36:
            return Based(digits, int(subscript.value))
        raise Unreadable(f"a number with the subscript {text_of(subscript)!r}")

    def letter(self, token: Token) -> Node:
        if token.text.isupper():
            at = self.position
            if self.next.text == "_" or self.next.kind in ("number", "letter"):
                try:
                    based = self.based(at - 1)
                except Unreadable:
                    based = None
                if based is not None and based.base > 10:
                    return based
                self.position = at
        if token.text in ("i", "I") or (token.text == "j" and self.j_is_i):
            return Sym("i")
        if token.text in ("e", "E"):
            return Sym("e")
        # f(3) is a function's value, x(x + 1) a product; y(t) is a function's where it is what is being given.
        named = token.text in _FUNCTION_LETTERS or (self.after((")",), 2) and self.after(("=",), 3))
        if named and self.next.text == "(" and not self.next.spaced:
            self.take()
            inner = self.many(frozenset(")"))
            self.expect(")")
            return Sym(f"{token.text}({text_of(inner)})")
        return Sym(token.text)

    def words(self, token: Token) -> Node:
        """A currency before its amount, or words with no value."""
        currency = units.scale(units.phrase(token.text))
        if currency is not None and currency[0] in ("dollars", "yuan", "euros") and self.next.kind == "number":
            return Qty(self.unary(), units.phrase(token.text))
        said = [token.text]
        while self.next.kind == "word" and self.next.text not in ("is", "equals", "to"):
            said.append(self.take().text)
        return Words(" ".join(said))

    def bracket(self, text: str) -> Node:
        if text in ("(", "[", "{"):
            return self.bracketed(text)
        if text == "|":
            return self.enclosed("|", "abs")
        if text in "¥€£":
            return Qty(self.unary(), units.phrase(text))
        raise Unreadable(f"{text!r} was not expected")

    def enclosed(self, closer: str, function: str) -> Node:
        self.bars += 1
        inner = self.many(frozenset({closer}))
        self.expect(closer)
        self.bars -= 1
        return App(function, (inner,))

    def bracketed(self, opener: str, *, visible: bool = False) -> Node:
        """Brackets and what is in them; a single thing in round ones, or in braces that only group, is itself."""
        bars, self.bars = self.bars, 0
        if self.next.text in _CLOSERS:
            self.take()
            self.bars = bars
            return Seq("{" if opener in "{lbrace" else opener, (), "}" if opener in "{lbrace" else ")")
        if visible:
            self.bars = 1  # a bar in a set is "such that"
        inner = self.many(_CLOSERS)
        if visible and self.next.text in ("|", "mid", "vert"):
            self.take()
            inner = self.many(_CLOSERS)
        self.bars = bars
        if self.next.kind == "command" and self.next.text == "choose" and opener == "{":
            self.take()
            inner = App("binomial", (inner, self.many(_CLOSERS)))
        closer = self.expect(*_CLOSERS).text
        items = inner.items if isinstance(inner, Many) else (inner,)
        if opener == "{":
            items = tuple(_entry(item) for item in items)
        brackets = {"lbrack": "[", "lbrace": "{", "langle": "(", "rbrack": "]", "rbrace": "}", "rangle": ")"}
        opener, closer = brackets.get(opener, opener), brackets.get(closer, closer)
        if (opener == "{") != (closer == "}"):
            raise Unreadable(f"{opener!r} closed by {closer!r}")
        if len(items) == 1 and not visible and (opener, closer) in (("(", ")"), ("{", "}")):
            return items[0]
        return Seq(opener, items, closer)

    def command(self, name: str) -> Node:
        if name in _FRACTIONS:
            return App("div", (self.digit_argument(), self.digit_argument()))
        if name in _BINOMIALS:
            return App("binomial", (self.digit_argument(), self.digit_argument()))
        if name in ("sqrt", "surd"):
            return self.root()
        if name == "pi" or name in ("infty", "infin"):
            return Sym("pi" if name == "pi" else "oo")
        if name in _GREEK:
            return Sym(name.removeprefix("var"))
        if name in FUNCTIONS:
            return self.function(name)
        if name in ("{", "lbrace", "langle", "lbrack"):
            return self.bracketed("{" if name in ("{", "lbrace") else name, visible=name in ("{", "lbrace"))
        if name in _BARS or name == "|":
            return self.enclosed(_BARS.get(name, name), "abs")
        if name in _ENCLOSED:
            return self.enclosed(*_ENCLOSED[name])
        if name == "begin":
            return self.environment()
        if name == "$":
            return Qty(self.unary(), "$")
        if name in ("emptyset", "varnothing"):
            return Seq("{", (), "}")
        if name == "mathbb":
            return Sym(text_of(self.argument()) * 2)
        if name in _LABELS:
            inner = self.argument()
            while self.next.kind in ("letter", "word") and not self.next.spaced:
                inner = Words(text_of(inner) + self.take().text)
            return Words(f"{name} {text_of(inner)}")
        if name in ("prime", "circ"):
            return Words(name)
        if name in ("imath", "jmath"):
            return Sym("i")
        if name in _IGNORED:
            return self.argument()
        raise Unreadable(f"\\{name} is not known")

    def root(self) -> Node:
        degree: Node | None = None
        if self.next.text == "[":
            self.take()
            degree = self.many(frozenset("]"))
            self.expect("]")
        inner = self.argument()
        return App("sqrt", (inner,)) if degree is None else App("root", (inner, degree))

    def named(self, name: str) -> Node:
        if name in CONSTANTS:
            return Sym(CONSTANTS[name])
        if name in FUNCTIONS:
            return self.function(name)
        return self.constructor(name)

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
            if name not in ("sqrt", "exp") and self.next.text in ("^", "circ") and power is None and base is None:
                pass  # sin(x)^2 is the square of the sine: `power` reads it after us
        else:
            factors = [self.unary() if self.next.text == "-" else self.power()]
            while (self.next.kind in ("letter", "number") or self.next.text in ("pi", "theta", "alpha", "frac")) and (
                self.starts_factor()
            ):
                factors.append(self.power())
            arguments = (App("mul", tuple(factors)) if len(factors) > 1 else factors[0],)
        self.shallower()
        if base is not None:
            arguments = (*arguments, base)
        inverse = {"sin": "asin", "cos": "acos", "tan": "atan"}
        if power == App("neg", (Num(Fraction(1), 0, 1),)) and name in inverse:
            return App(inverse[name], arguments)
        node = App(name.replace("arc", "a"), arguments)
        return node if power is None else App("pow", (node, power))

    def environment(self) -> Node:
        """A matrix; of one column a vector."""
        name = "".join(token.text for token in self.group())
        if name.rstrip("*") in ("array", "tabular") and self.next.text == "{":
            self.group()
        if name.rstrip("*") not in ("pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix", "array"):
            raise Unreadable(f"the environment {name}")
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while True:
            if self.next.text == "end" and self.next.kind == "command":
                break
            row.append(self.relation())
            if self.next.text == "&":
                self.take()
                continue
            rows.append(tuple(row))
            row = []
            while self.next.kind == "row" or self.next.text == "hline":
                self.take()
        self.take()
        self.group()
        return matrix(rows)

    def relation(self) -> Node:  # replaced by Parser
        raise NotImplementedError

    def group(self) -> list[Token]:
        """The tokens between braces, taken as they are."""
        self.expect("{")
        found = []
        while self.next.text != "}":
            found.append(self.take())
        self.take()
        return found

    def constructor(self, name: str) -> Node:
        """What Python and sympy print around values: Rational(7, 8), Matrix([[1], [2]]), Interval(0, oo)."""
        kind = None
        if self.next.text == "." and name == "interval":
            self.take()
            kind = self.take().text.lower()
        if self.next.text != "(" or name not in CONSTRUCTORS:
            raise Unreadable(f"{name} without its arguments")
        self.take()
        if self.next.text == ")":
            self.take()
            return Seq("{", (), "}")
        inner = self.many(frozenset(")"))
        self.expect(")")
        arguments = inner.items if isinstance(inner, Many) else (inner,)
        if name in ("rational", "fraction") and len(arguments) == 2:
            return App("div", arguments)
        if name == "eq" and len(arguments) == 2:
            return Rel(("=",), arguments)
        if name in ("union", "intersection", "complement"):
            node = arguments[0]
            for other in arguments[1:]:
                node = App({"complement": "difference"}.get(name, name), (node, other))
            return node
        if name == "interval" and 2 <= len(arguments) <= 4:
            flags = [text_of(argument).lower() == "true" for argument in arguments[2:]] + [False, False]
            left = flags[0] or kind in ("open", "lopen") or arguments[0] == App("neg", (Sym("oo"),))
            right = flags[1] or kind in ("open", "ropen") or arguments[1] == Sym("oo")
            return Seq("(" if left else "[", arguments[:2], ")" if right else "]")
        if name == "finiteset":
            return Seq("{", arguments, "}")
        if name.startswith("point") and len(arguments) > 1:
            return Seq("(", arguments, ")")
        if len(arguments) != 1:
            raise Unreadable(f"{name} of {len(arguments)} arguments")
        if name.endswith("matrix") or name == "array":
            return as_matrix(arguments[0]) or arguments[0]
        return arguments[0]


def _entry(item: Node) -> Node:
    """In braces "x: 4" is an entry of a Python dict, and says x = 4."""
    if isinstance(item, App) and item.op == "ratio" and len(item.args) == 2 and isinstance(item.args[0], Sym):
        return Rel(("=",), item.args)
    return item


def matrix(rows: list[tuple[Node, ...]]) -> Mat:
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise Unreadable("a matrix whose rows differ in length")
    return Mat(tuple(rows))


def as_matrix(node: Node) -> Mat | None:
    """[[a, b], [c, d]] as a matrix, [a, b] as a column; None for anything else."""
    if not isinstance(node, Seq) or node.open != "[" or not node.items:
        return None
    if all(isinstance(item, Seq) and item.open == "[" for item in node.items):
        rows = [item.items for item in node.items if isinstance(item, Seq)]
        return matrix(rows) if len({len(row) for row in rows}) == 1 else None
    return Mat(tuple((item,) for item in node.items))


def text_of(node: Node) -> str:
    """`node` as short text, equal for equal trees; for names and messages."""
    if isinstance(node, Num):
        return str(node.value) if node.value.numerator.bit_length() < 4000 else "a long number"
    if isinstance(node, Sym):
        return node.name
    if isinstance(node, Words):
        return node.text
    if isinstance(node, App):
        return f"{node.op}({','.join(text_of(argument) for argument in node.args)})"
    if isinstance(node, (Seq, Many)):
        return "(" + ",".join(text_of(item) for item in node.items) + ")"
    if isinstance(node, Based):
        return f"{node.digits}_{node.base}"
    if isinstance(node, Qty):
        return f"{text_of(node.value)} {node.unit}"
    return type(node).__name__
