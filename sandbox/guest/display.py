"""The text a notebook shows for a value: `repr`, with long lists, tuples, sets and dicts broken into lines.

The layout is IPython.lib.pretty's, which recorded notebook transcripts were printed with: a container that does
not fit in 79 columns has one element a line. It refuses to sort: a dict keeps its order.
"""

from __future__ import annotations

_COLUMNS = 79
_MOST_ITEMS = 1000  # IPython.lib.pretty.MAX_SEQ_LENGTH
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}


def pretty(value: object) -> str:
    """What the user is shown for `value`. Runs the user's `__repr__`, and raises what that raises."""
    return _text(value, 0, 0, ())


def _text(value: object, column: int, after: int, inside: tuple[int, ...]) -> str:
    """`value` as printed from `column` on, with `after` more characters to come on its last line."""
    kind = type(value)
    # A class with a __repr__ of its own is not ours to lay out.
    if kind not in _BRACKETS or not value:
        return repr(value)
    opening, closing = _BRACKETS[kind]
    if id(value) in inside:
        return f"{opening}...{closing}"
    flat = repr(value)
    if len(flat) + column + after <= _COLUMNS and "\n" not in flat and len(value) <= _MOST_ITEMS:  # type: ignore[arg-type]
        return flat
    inner, inside = column + len(opening), (*inside, id(value))
    if isinstance(value, dict):
        parts = [_pair(key, item, inner, inside) for key, item in list(value.items())[:_MOST_ITEMS]]
    else:
        parts = [_text(item, inner, 1, inside) for item in list(value)[:_MOST_ITEMS]]  # type: ignore[call-overload]
    if len(value) > _MOST_ITEMS:  # type: ignore[arg-type]
        parts.append("...")
    if kind is tuple and len(parts) == 1:
        closing = ",)"
    return opening + (",\n" + " " * inner).join(parts) + closing


def _pair(key: object, item: object, column: int, inside: tuple[int, ...]) -> str:
    name = _text(key, column, 2, inside) + ": "
    return name + _text(item, column + len(name.rpartition("\n")[2]), 1, inside)
