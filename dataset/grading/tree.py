"""What an answer means, as a tree. Immutable, comparable, small; built by `parser`, walked by everything else."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Num:
    """A written number. `places` decimals and `digits` significant digits were written; both 0 for a derived one."""

    value: Fraction
    places: int = 0
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Sym:
    """A letter: a variable, or one of pi, e, i, oo (infinity)."""

    name: str


@dataclass(frozen=True, slots=True)
class App:
    """An operation (`add`, `mul`, `div`, `pow`, `neg`, `pm`, …) or function (`sin`, `sqrt`, …) with its arguments."""

    op: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """Several things in brackets: a tuple, an interval, a set, a Python list."""

    open: str
    items: tuple[Node, ...]
    close: str


@dataclass(frozen=True, slots=True)
class Many:
    """Several things without brackets: "3, -1", "x = 2 or x = 5". `joint` is "and", "or" or ","."""

    items: tuple[Node, ...]
    joint: str = ","


@dataclass(frozen=True, slots=True)
class Rel:
    """A chain of relations, `len(ops) + 1 == len(sides)`; ops are = ≈ < > <= >= != in."""

    ops: tuple[str, ...]
    sides: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Qty:
    """A value with a unit or counted noun, as `units.phrase` writes it: "cm^2", "bolt", "%", "deg", "$"."""

    value: Node
    unit: str


@dataclass(frozen=True, slots=True)
class Mat:
    """A matrix by rows, all of one length."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a base that is written with them."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Words:
    """Words with no value of their own: a name, a label, a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Cases:
    """A function by cases: rows of a value and the condition under which it holds."""

    rows: tuple[tuple[Node, Node], ...]


Node: TypeAlias = Num | Sym | App | Seq | Many | Rel | Qty | Mat | Based | Words | Cases

CONSTANTS = frozenset({"pi", "e", "i", "oo"})
# Operations that bind a letter: (body, letter, low, high). The letter is `BOUND` and how many are open around it.
BINDING = frozenset({"sum", "prod", "integral"})
BOUND = "·"


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below `node`."""
    if isinstance(node, App):
        return node.args
    if isinstance(node, (Seq, Many)):
        return node.items
    if isinstance(node, Rel):
        return node.sides
    if isinstance(node, Qty):
        return (node.value,)
    if isinstance(node, (Mat, Cases)):
        return tuple(entry for row in node.rows for entry in row)
    return ()


def variables(node: Node) -> frozenset[str]:
    """The names of the variables in `node`, constants and bound letters left out."""
    found: set[str] = set()
    below = [node]
    while below:
        inner = below.pop()
        if isinstance(inner, Sym):
            if inner.name not in CONSTANTS and inner.name[0] != BOUND:
                found.add(inner.name)
        elif not isinstance(inner, Num):
            below.extend(children(inner))
    return frozenset(found)


def contains(node: Node, kind: type | tuple[type, ...]) -> bool:
    """Whether a node of `kind` is in `node`, itself included."""
    return isinstance(node, kind) or any(contains(child, kind) for child in children(node))


def put(node: Node, name: str, value: Node) -> Node:
    """`node` with `value` for the letter `name`."""
    if isinstance(node, Sym):
        return value if node.name == name else node
    if isinstance(node, App):
        return App(node.op, tuple(put(argument, name, value) for argument in node.args))
    if not children(node):
        return node
    if isinstance(node, Seq):
        return Seq(node.open, tuple(put(item, name, value) for item in node.items), node.close)
    if isinstance(node, Rel):
        return Rel(node.ops, tuple(put(side, name, value) for side in node.sides))
    if isinstance(node, Mat):
        return Mat(tuple(tuple(put(entry, name, value) for entry in row) for row in node.rows))
    return node


def text_of(node: Node) -> str:
    """`node` as short text, equal for equal trees; for names and messages."""
    if isinstance(node, Num):
        return str(node.value) if node.value.numerator.bit_length() < 10_000 else "a long number"
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
