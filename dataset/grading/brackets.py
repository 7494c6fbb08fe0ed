"""What stands in brackets: groups, tuples, intervals, sets, Python's containers and constructors, matrices."""

from __future__ import annotations

from dataset.grading import piecewise
from dataset.grading.lexer import Unreadable
from dataset.grading.names import CONSTRUCTORS
from dataset.grading.numbers import NumberReader
from dataset.grading.tree import App, Many, Mat, Node, Rel, Seq, Sym, Words, text_of

_CLOSERS = frozenset({")", "]", "}", "rbrack", "rbrace", "rangle"})
_PLAIN = {"lbrack": "[", "lbrace": "{", "langle": "(", "rbrack": "]", "rbrace": "}", "rangle": ")"}
_MATRICES = frozenset(
    {"cases", "dcases", "pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix", "array", "aligned", "vmatrix"}
)
_CONDITION_WORDS = frozenset({"if", "when", "for", "where", "当", "若", "在"})
_OTHERWISE = frozenset({"otherwise", "else", "elsewhere", "其他", "其它", "其余", "true"})
_OPERATIONS = frozenset({"+", "-", "*", "/", "^", "times", "cdot", "div"})
_MAX_DETERMINANT = 4
_POINTS = frozenset({"point", "point2d", "point3d"})


class BracketReader(NumberReader):
    """Everything that opens with a bracket or a constructor's name."""

    def enclosed(self, closer: str, function: str) -> Node:
        """The inside of |…|, ⌊…⌋ and the like, up to `closer`."""
        self.bars += 1
        inner = self.many(frozenset({closer}))
        self.expect(closer)
        self.bars -= 1
        return App(function, (inner,))

    def bracketed(self, opener: str, *, visible: bool = False) -> Node:
        r"""From an opening bracket, which was taken, to its closing one.

        A single thing in round brackets, or in braces that only group, is itself. `visible`: the braces are a set's.
        """
        opener = _PLAIN.get(opener, opener)
        operated = self.position > 1 and self.tokens[self.position - 2].text in _OPERATIONS
        bars, self.bars = self.bars, int(visible)  # a bar in a set is "such that"
        if self.next.text in _CLOSERS:
            self.take()
            self.bars = bars
            return Seq(opener, (), "}" if opener == "{" else ")")
        inner = self.many(_CLOSERS)
        if visible and self.next.text in ("|", "mid", "vert"):
            self.take()
            inner = self.many(_CLOSERS)
        self.bars = bars
        if opener == "{" and self.is_command("choose"):
            self.take()
            inner = App("binomial", (inner, self.many(_CLOSERS)))
        closer = self.expect(*_CLOSERS).text
        closer = _PLAIN.get(closer, closer)
        if (opener == "{") != (closer == "}"):
            raise Unreadable(f"{opener!r} closed by {closer!r}")
        items = inner.items if isinstance(inner, Many) else (inner,)
        if opener == "{":
            items = tuple(_entry(item) for item in items)
        if len(items) == 1 and not visible and (opener, closer) in (("(", ")"), ("{", "}")):
            return items[0]
        if (
            len(items) == 1
            and (opener, closer) == ("[", "]")
            and not visible
            and (operated or self.next.text in _OPERATIONS)
        ):
            return items[0]  # 58 ÷ [1 + 2]
        if isinstance(items[0], Mat) and (opener, closer) == ("[", "]"):  # the brackets of an array
            return items[0]
        return Seq(opener, items, closer)

    def system(self) -> Node:
        r"""\left\{ with an array behind it: cases, or a system's solution; its brace may be closed or not."""
        self.take()
        found = self.environment(braced=True)
        if self.next.text in ("}", "rbrace"):
            self.take()
        return found

    def environment(self, *, braced: bool = False) -> Node:
        r"""The matrix, cases or system after \begin. `braced`: a brace stands before it, so that it is no matrix."""
        name = "".join(token.text for token in self.group()).rstrip("*")
        if name not in _MATRICES:
            raise Unreadable(f"the environment {name}")
        if name == "array" and self.next.text == "{":
            self.group()
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while not self.is_command("end"):
            row.append(self.condition() if row else self.relation())
            parted = self.next.text in (",", "&", ";")
            while self.next.text in (",", "&", ";", "."):
                self.take()
            if parted and self.next.kind != "row" and not self.is_command("end"):
                continue
            rows.append(tuple(row))
            row = []
            while self.next.kind == "row" or self.is_command("hline"):
                self.take()
        self.take()
        self.group()
        if name in ("cases", "dcases", "aligned", "array"):
            if (cases := piecewise.from_rows(rows)) is not None:
                return cases
            if (braced or name != "array") and all(len(row) == 1 for row in rows):  # a system's solution
                return Many(tuple(entry for (entry,) in rows))
        found = matrix(rows)
        return _determinant(found.rows) if name == "vmatrix" else found

    def condition(self) -> Node:
        """An entry that is not the first of its row: also "if x > 0", 当x>0时, "otherwise"."""
        for at in range(self.position, len(self.tokens)):
            token = self.tokens[at]
            if token.kind == "row" or token.text in ("&", "end"):
                break
            if token.kind == "word" and token.text == "时":  # else it is an hour
                del self.tokens[at]
                break
        while self.next.kind == "word" and self.next.text.lower() in _CONDITION_WORDS:
            self.take()
        if self.next.kind == "word" and self.next.text.lower() in _OTHERWISE:
            self.take()
            return Words("otherwise")
        return self.relation()

    def constructor(self, name: str) -> Node:
        """What Python and sympy print around values: Rational(7, 8), Matrix([[1], [2]]), Interval(0, oo)."""
        kind = ""
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
        return _constructed(name, kind, arguments)


def _constructed(name: str, kind: str, arguments: tuple[Node, ...]) -> Node:
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
        return _interval(kind, arguments)
    if name == "finiteset":
        return Seq("{", arguments, "}")
    if name in _POINTS and len(arguments) > 1:
        return Seq("(", arguments, ")")
    if name == "piecewise":
        rows = [argument.items for argument in arguments if isinstance(argument, Seq)]
        cases = piecewise.from_rows([(row[0], _otherwise(row[1])) for row in rows if len(row) == 2])
        if cases is None or len(cases.rows) != len(arguments):
            raise Unreadable("a Piecewise of something else than values and conditions")
        return cases
    if len(arguments) != 1:
        raise Unreadable(f"{name} of {len(arguments)} arguments")
    if name.endswith("matrix") or name == "array":
        return _nested_rows(arguments[0])
    return arguments[0]


def _otherwise(condition: Node) -> Node:
    """Python's True as the words of a last case."""
    return Words("otherwise") if text_of(condition).lower() == "true" else condition


def _determinant(rows: tuple[tuple[Node, ...], ...]) -> Node:
    """The determinant of a small square matrix, along its first row."""
    if len(rows) != len(rows[0]) or len(rows) > _MAX_DETERMINANT:
        raise Unreadable("a determinant that is not square, or large")
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for column, entry in enumerate(rows[0]):
        minor = tuple(tuple(x for at, x in enumerate(row) if at != column) for row in rows[1:])
        term = App("mul", (entry, _determinant(minor)))
        terms.append(App("neg", (term,)) if column % 2 else term)
    return App("add", tuple(terms))


def _interval(kind: str, arguments: tuple[Node, ...]) -> Seq:
    """Sympy's Interval(low, high, left_open, right_open), Interval.open(low, high) and so on."""
    flags = [text_of(argument).lower() == "true" for argument in arguments[2:]] + [False, False]
    left = flags[0] or kind in ("open", "lopen") or arguments[0] == App("neg", (Sym("oo"),))
    right = flags[1] or kind in ("open", "ropen") or arguments[1] == Sym("oo")
    return Seq("(" if left else "[", arguments[:2], ")" if right else "]")


def _entry(item: Node) -> Node:
    """In braces "x: 4" is an entry of a Python dict, and says x = 4."""
    if isinstance(item, App) and item.op == "ratio" and len(item.args) == 2 and isinstance(item.args[0], Sym):
        return Rel(("=",), item.args)
    return item


def matrix(rows: list[tuple[Node, ...]]) -> Mat:
    """Raises Unreadable unless all rows have the same length."""
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise Unreadable("a matrix whose rows differ in length")
    return Mat(tuple(rows))


def _nested_rows(node: Node) -> Node:
    """[[a, b], [c, d]] as a matrix, [a, b] as a column; anything else as it is."""
    if not isinstance(node, Seq) or node.open != "[" or not node.items:
        return node
    rows = [item.items for item in node.items if isinstance(item, Seq) and item.open == "["]
    if len(rows) == len(node.items):
        return matrix(rows)
    return node if rows else Mat(tuple((item,) for item in node.items))
