r"""Tokens to a tree, by precedence climbing.

    many       item , item      "and", "or", ";" and line breaks part as well
    relation   = < ≤ ∈ …        what cannot be read before an "=" is a label: "\angle ABC = 30"
    union      ∪ ∩ \setminus
    ratio      a : b
    sum        + - ±
    product    * / juxtaposition, then a unit or noun
    power      ^ ** ! % ° subscripts
    atom       numbers, letters, brackets, commands, functions

Bounded in length (`normalize.MAX_CHARACTERS`), tokens, depth and the size of numbers; linear in time. It refuses what
it does not know (`Unreadable`) rather than skip it: half an answer read is a wrong verdict.
"""

from __future__ import annotations

from fractions import Fraction

from dataset.grading.cursor import MAX_DEPTH
from dataset.grading.lexer import Hints, Unreadable, tokens
from dataset.grading.measured import UnitReader, times
from dataset.grading.names import EQUALS
from dataset.grading.tree import App, Many, Node, Num, Rel, Seq, Words

_RELATIONS = {
    **dict.fromkeys(("=", "==", "is", "equals", "equiv", "cong"), "="),
    **dict.fromkeys(("approx", "simeq", "doteq", "approxeq"), "≈"),
    **dict.fromkeys(("<=", "le", "leq", "leqslant"), "<="),
    **dict.fromkeys((">=", "ge", "geq", "geqslant"), ">="),
    **dict.fromkeys(("!=", "ne", "neq"), "!="),
    "<": "<", "lt": "<", ">": ">", "gt": ">", "in": "in",
}  # fmt: skip
_SETS = {"cup": "union", "bigcup": "union", "cap": "intersection", "bigcap": "intersection", "setminus": "difference",
         "backslash": "difference"}  # fmt: skip
_PARTS = {",": ",", ";": ",", "and": "and", "or": "or"}
_TIMES = frozenset({"*", "times", "cdot", "ast", "bullet"})
_OVER = frozenset({"/", "div"})


class Parser(UnitReader):
    """One answer's tokens and where reading has got to. `UnitReader` has the levels below."""

    def whole(self) -> Node:
        """Everything up to the end, as one node."""
        node = self.many()
        if self.next.kind != "end":
            raise Unreadable(f"{self.next.text!r} was not expected")
        return node

    def many(self, closers: frozenset[str] = frozenset()) -> Node:
        items: list[Node] = []
        joints: list[str] = []
        self.deeper()
        while True:
            items.append(self.relation())
            joint = None
            while (self.next.kind == "sign" and self.next.text in _PARTS) or self.next.kind == "row":
                token = self.take()
                found = _PARTS.get(token.text, ",")
                joint = found if joint in (None, ",") else joint
            if joint is None or self.next.kind == "end" or self.next.text in closers:
                break
            joints.append(joint)
        self.shallower()
        if len(items) == 1:
            return items[0]
        kind = "or" if "or" in joints else "and" if "and" in joints else ","
        return Many(tuple(items), kind)

    def relation(self) -> Node:
        first = self.left_side() if self.depth == 1 else self.union()
        sides, ops = [first], []
        while (op := self.relation_sign()) is not None:
            ops.append(op)
            sides.append(self.union())
        return Rel(tuple(ops), tuple(sides)) if ops else first

    def left_side(self) -> Node:
        """A side of a relation, or what stands before an equals sign as a label if it has no other meaning.

        Asked only outside of brackets: a second reading at every level would take exponential time.
        """
        start, depth = self.position, self.depth
        labelled = self.finds_equals()
        try:
            side = self.union()
            if not labelled or self.next.kind != "word" or self.next.text in EQUALS:
                return side
        except Unreadable:
            if not labelled:
                raise
        self.position, self.depth, self.bars = start, depth, 0
        words = []
        while self.next.text not in EQUALS:
            words.append(self.take().text)
        return Words(" ".join(words))

    def relation_sign(self) -> str | None:
        token = self.next
        if token.kind == "command" and token.text == "not":
            self.take()
            inner = self.relation_sign()
            if inner not in ("=", "in"):
                raise Unreadable("\\not of what is no equation")
            return "!="
        if token.kind not in ("sign", "command", "word") or token.text not in _RELATIONS:
            return None
        self.take()
        op = _RELATIONS[token.text]
        # "< =" and ">=" are written both ways
        if op in "<>" and self.next.text == "=" and not self.next.spaced:
            self.take()
            op += "="
        return op

    def finds_equals(self) -> bool:
        """Whether an equals sign follows before anything that parts answers."""
        for token in self.tokens[self.position :]:
            if token.kind == "end" or token.text in (",", ";", "and", "or"):
                return False
            if token.kind in ("sign", "word") and token.text in EQUALS:
                return True
        return False

    def union(self) -> Node:
        left = self.ratio()
        parts = 0
        while True:
            token = self.next
            if token.kind == "command" and token.text in _SETS:
                op = _SETS[token.text]
            elif (
                token.kind == "letter"
                and token.text in "Uu"
                and isinstance(left, (Seq, App))
                and self.after(("(", "[", "{"))
            ):
                op = "union"
            else:
                return left
            self.take()
            left = App(op, (left, self.ratio()))
            parts += 1
            if parts > MAX_DEPTH:
                raise Unreadable(f"more than {MAX_DEPTH} sets")

    def ratio(self) -> Node:
        parts = [self.sum()]
        while self.next.text in (":", "colon") or (self.next.kind == "word" and self.next.text in ("to", "比")):
            self.take()
            parts.append(self.sum())
        return App("ratio", tuple(parts)) if len(parts) > 1 else parts[0]

    def sum(self) -> Node:
        terms = [self.product()]
        signs = 0
        while True:
            if self.next.text == "+" or (self.next.text == "-" and self.next.kind == "sign"):
                minus = self.take().text == "-"
                term = self.product()
                terms.append(App("neg", (term,)) if minus else term)
            elif self.next.kind == "command" and self.next.text in ("pm", "mp"):
                self.take()
                left = App("add", tuple(terms)) if len(terms) > 1 else terms[0]
                self.deeper()
                terms = [App("pm", (left, self.product()))]
                signs += 1
            else:
                self.depth -= signs
                return App("add", tuple(terms)) if len(terms) > 1 else terms[0]

    def product(self) -> Node:
        left = self.unary()
        divisions = 0
        while True:
            token = self.next
            if token.text in _TIMES and token.kind in ("sign", "command"):
                self.take()
                left = times(left, self.unary())
            elif token.text in _OVER and token.kind in ("sign", "command"):
                self.take()
                left = App("div", (left, self.unary()))
                divisions += 1
                if divisions > MAX_DEPTH:
                    raise Unreadable(f"more than {MAX_DEPTH} divisions")
            elif token.kind in ("word", "sign", "command") and (found := self.with_unit(left)) is not None:
                return found
            elif self.starts_factor():
                left = times(left, self.power())
            else:
                return left

    def unary(self) -> Node:
        token = self.next
        if token.text in ("-", "+") and token.kind == "sign":
            self.take()
            self.deeper()
            inner = self.unary()
            self.shallower()
            return App("neg", (inner,)) if token.text == "-" else inner
        if token.kind == "command" and token.text in ("pm", "mp"):
            self.take()
            return App("pm", (Num(Fraction(0)), self.power()))
        if token.kind == "command" and token.text in ("approx", "sim", "therefore", "because"):
            self.take()
            self.deeper()
            inner = self.unary()
            self.shallower()
            return inner
        return self.power()


def read(text: str, hints: Hints | None = None) -> Node:
    """The tree of `text`, which `normalize.clean` has been over.

    Raises:
        Unreadable: it is in no notation that is known here, or too long or deep.
    """
    return Parser(tokens(text, hints or Hints())).whole()
