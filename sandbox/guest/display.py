"""The text a notebook shows for a value: `repr`, with long lists, tuples, sets and dicts broken into lines.

The layout is that of IPython.lib.pretty, which recorded notebook transcripts were printed with: a container that does
not fit in 79 columns has one element a line, sets are sorted, classes and functions are named, and an object without
a `__repr__` of its own is `<module.Class at 0x…>`. `bench/notebook.py` compares the two.
"""

from __future__ import annotations

import inspect
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_COLUMNS = 79
_MOST_ITEMS = 1000  # IPython.lib.pretty.MAX_SEQ_LENGTH
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
    types.MappingProxyType: ("mappingproxy({", "})"),
}
# Printed as a call of the class, with these arguments.
_CALLS: dict[type, Callable[[Any], list[object]]] = {
    defaultdict: lambda value: [value.default_factory, dict(value)],
    OrderedDict: lambda value: [list(value.items())] if value else [],
    Counter: lambda value: [dict(value.most_common())] if value else [],
    deque: lambda value: [list(value)],
}
# Their `repr` is all there is to them; asked for first, because most values are of these.
_PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None), range})
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)

# A key with its value, or None, for each element of a container.
_Part = tuple[object, tuple[object] | None]


def pretty(value: object) -> str:
    """What the user is shown for `value`. Runs the user's `__repr__`, and raises what that raises."""
    return repr(value) if type(value) in _PLAIN else _text(value, 0, 0, 0, ())


def _text(value: object, column: int, indent: int, after: int, inside: tuple[int, ...]) -> str:
    """`value` as printed from `column` on, with `after` more characters to come on its last line.

    Its own further lines begin at `indent`, and those of a container by its opening bracket further in.
    """
    shape = _shape(value)
    if shape is None:
        return _atom(value).replace("\n", "\n" + " " * indent) if column else _atom(value)
    opening, closing, parts = shape
    if id(value) in inside:
        return f"{opening}...{closing}"
    if (flat := _flat(value, _COLUMNS - column - after, inside)) is not None:
        return flat
    inside, indent = (*inside, id(value)), indent + len(opening)
    lines: list[str] = []
    column += len(opening)
    for number, (first, second) in enumerate(parts, 1):
        last = number == len(parts)
        rest = len(closing) + after if last else 1
        text = _text(first, column, indent, 2 if second else rest, inside)
        if second:
            text += ": "
            width = len(text.rpartition("\n")[2]) + (0 if "\n" in text else column)
            text += _text(second[0], width, indent, rest, inside)
        lines.append(text)
        column = indent
    return opening + (",\n" + " " * indent).join(lines) + closing


def _flat(value: object, room: int, inside: tuple[int, ...]) -> str | None:
    """`value` on one line of at most `room` characters; None if it does not go into that."""
    if room <= 0:
        return None
    shape = _shape(value)
    if shape is None:
        text = _atom(value)
        return text if len(text) <= room and "\n" not in text else None
    opening, closing, parts = shape
    if id(value) in inside:
        return f"{opening}...{closing}"
    inside = (*inside, id(value))
    text = opening
    for number, (first, second) in enumerate(parts):
        for sign, item in ((", " if number else "", (first,)), (": ", second)):
            if item is None:
                continue
            text += sign
            more = _flat(item[0], room - len(text), inside)
            if more is None:
                return None
            text += more
    text += closing
    return text if len(text) <= room else None


class _Dots:
    """Stands for what is left out of a long container."""

    def __repr__(self) -> str:
        return "..."


class _Nothing:
    """Behind the one element of a tuple, so that a comma is."""

    def __repr__(self) -> str:
        return ""


def _shape(value: Any) -> tuple[str, str, list[_Part]] | None:
    """The brackets and the elements of a container; None for whatever is not to be laid out."""
    kind = type(value)
    if kind in _PLAIN:
        return None
    if (arguments := _CALLS.get(kind)) is not None:
        return f"{kind.__name__}(", ")", [(argument, None) for argument in arguments(value)]
    if issubclass(kind, BaseException) and kind.__repr__ is BaseException.__repr__:
        return f"{_name(kind)}(", ")", [(argument, None) for argument in value.args]
    brackets = _brackets(kind)
    if brackets is None or not len(value):
        return None
    opening, closing = brackets
    if kind is dict or isinstance(value, (dict, types.MappingProxyType)):
        return opening, closing, list(_first(((key, (value[key],)) for key in value), len(value)))
    items: Iterable[object] = value
    if isinstance(value, (set, frozenset)) and len(value) < _MOST_ITEMS:
        items = _sorted(value)
    return (
        opening,
        ",)" if isinstance(value, tuple) and len(value) == 1 else closing,
        list(_first(((item, None) for item in items), len(value))),
    )


def _brackets(kind: type) -> tuple[str, str] | None:
    """Those of the class that `kind` has its `__repr__` from; a class with one of its own is not ours to lay out."""
    for each in kind.__mro__:
        if each in _BRACKETS:
            return _BRACKETS[each]
        if "__repr__" in vars(each):
            return None
    return None


def _first(parts: Iterable[_Part], count: int) -> Iterator[_Part]:
    for number, part in enumerate(parts):
        if number == _MOST_ITEMS:
            yield _Dots(), None
            return
        yield part


def _sorted(items: Iterable[Any]) -> list[object]:
    try:
        return sorted(items)
    except Exception:  # noqa: BLE001 - the user's comparison
        try:
            return sorted(items, key=str)
        except Exception:  # noqa: BLE001
            return list(items)


def _atom(value: Any) -> str:
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    repr_of: object = kind.__repr__
    if repr_of is object.__repr__:
        return f"<{_name(kind)} at {id(value):#x}>"
    if repr_of is type.__repr__:
        return _name(value)
    if kind in _FUNCTIONS:
        return f"<function {_name(value)}{_signature(value)}>"
    return repr(value)


def _name(value: Any) -> str:
    """A class or function by its module and name; by its name only if it is built in."""
    module = getattr(value, "__module__", None)
    name = str(getattr(value, "__qualname__", value.__name__))
    return name if module in (None, "builtins") else f"{module}.{name}"


def _signature(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except ValueError:
        return ""
