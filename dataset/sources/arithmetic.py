"""Written arithmetic, as in GSM8K's marks and Ape210K's equations, read into Python's own expression trees.

Understood: + - * / : × ÷ % (a hundredth), brackets, decimals, thousands separators, and mixed numbers such as 2(1/3).
Nothing is evaluated here but by `exact`, on numbers in fractions, and by `computed`, as Python would: no `eval`.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from sandbox.errors import InputError

Number = int | float
_TOKEN = re.compile(r"\s*(?:(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)|(\*\*|\^|[-+*/:×÷%()（）\[\]]))")
_MIXED = re.compile(r"(?<![\d.])(\d+)\s*\((\d+)/(\d+)\)")
_SIGNS = {":": "/", "÷": "/", "×": "*", "（": "(", "）": ")", "[": "(", "]": ")", "^": "**"}
_LARGEST_POWER = 64
_LARGEST_VALUE = 1e300  # floats end soon after


def read_expression(text: str) -> ast.expr:
    """The expression tree of `text`, with numbers as constants (int, or float for decimals).

    Raises:
        InputError: there is something else in it.
    """
    python, position = [], 0
    text = _MIXED.sub(r"(\1+\2/\3)", text.strip().rstrip("."))
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InputError(f"{text!r} is not arithmetic at {text[position : position + 10]!r}")
        number, sign = match.groups()
        if number:
            whole, point, decimals = number.replace(",", "").partition(".")
            python.append((whole.lstrip("0") or "0") + (f".{decimals or 0}" if point else ""))
        else:
            python.append("/100" if sign == "%" else _SIGNS.get(sign, sign))
        position = match.end()
    # "25%" binds as one number: 1/25% is 1/(25/100).
    joined = re.sub(r"(\d+(?:\.\d+)?)/100(?![\d.])", r"(\1/100)", "".join(python)) if "%" in text else "".join(python)
    try:
        return ast.parse(joined, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"{text!r} is not arithmetic: brackets or operators do not match") from None


def exact(node: ast.expr) -> Fraction:
    """The value of an expression tree.

    Raises:
        InputError: it divides by zero, has an operator other than + - * / **, or a power that is too large.
    """
    match node:
        case ast.Constant(value=int() | float()):
            return Fraction(str(node.value))
        case ast.UnaryOp(op=ast.USub()):
            return -exact(node.operand)
        case ast.UnaryOp(op=ast.UAdd()):
            return exact(node.operand)
        case ast.BinOp():
            left, right = exact(node.left), exact(node.right)
            match node.op:
                case ast.Add():
                    return left + right
                case ast.Sub():
                    return left - right
                case ast.Mult():
                    return left * right
                case ast.Div() if right:
                    return left / right
                case ast.Pow() if right.denominator == 1 and abs(right) <= _LARGEST_POWER and (left or right >= 0):
                    return Fraction(left**right)
    raise InputError(f"{ast.unparse(node)!r} cannot be computed")


_PYTHON: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow,
}  # fmt: skip


def computed(node: ast.expr, names: Mapping[str, Number] = {}) -> Number:
    """What Python itself computes for an expression tree over `names`: with floats, and their noise.

    Raises:
        InputError: it cannot be computed.
    """
    match node:
        case ast.Constant(value=int() | float() as value) if abs(value) < _LARGEST_VALUE:
            return value
        case ast.Name() if node.id in names:
            return names[node.id]
        case ast.UnaryOp(op=ast.USub()):
            return -computed(node.operand, names)
        case ast.UnaryOp(op=ast.UAdd()):
            return computed(node.operand, names)
        case ast.BinOp() if type(node.op) in _PYTHON:
            left, right = computed(node.left, names), computed(node.right, names)
            if not isinstance(node.op, ast.Pow) or abs(right) <= _LARGEST_POWER:
                try:
                    found = _PYTHON[type(node.op)](left, right)
                except (ZeroDivisionError, OverflowError):
                    found = None
                if isinstance(found, int | float) and abs(found) < _LARGEST_VALUE:  # a power can be complex
                    return found
    raise InputError(f"{ast.unparse(node)!r} cannot be computed")


def printed_as(value: Number, name: str, reference: str) -> str | None:
    """The call of `print` that writes `value`, which stands in the variable `name`, as `reference` is written.

    45.0 and 78.49999999999999 are printed as 45 and 78.5. None where twelve digits do not write it so.
    """
    if str(value) == reference:
        return f"print({name})"
    return f"print(f'{{{name}:.12g}}')" if f"{value:.12g}" == reference else None


def printing_program(tree: ast.expr, reference: str) -> str:
    """A program that computes `tree` and prints it, written as `reference` where that is its value.

    In fractions where the reference is one, or where floats do not lead to it and fractions do.
    """
    if "/" not in reference:
        try:
            if call := printed_as(computed(tree), "x", reference):
                return f"x = {ast.unparse(tree)}\n{call}"
            if str(exact(tree)) != reference:
                return f"x = {ast.unparse(tree)}\nprint(x)"
        except InputError:
            return f"x = {ast.unparse(tree)}\nprint(x)"
    return f"from fractions import Fraction\n\nx = {ast.unparse(in_fractions(tree))}\nprint(x)"


class _InFractions(ast.NodeTransformer):
    """Makes every division exact."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return _fraction(ast.Constant(str(node.value))) if isinstance(node.value, float) else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, ast.Div) and not (_has_fraction(left) or _has_fraction(right)):
            whole = isinstance(left, ast.Constant) and isinstance(right, ast.Constant)
            return _fraction(left, right) if whole else ast.BinOp(_fraction(left), node.op, right)
        return ast.BinOp(left, node.op, right)


def _fraction(*arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name("Fraction"), list(arguments), [])


def _has_fraction(node: ast.expr) -> bool:
    return any(isinstance(inner, ast.Call) for inner in ast.walk(node))


def in_fractions(node: ast.expr) -> ast.expr:
    """The same expression, computed with `fractions.Fraction` throughout."""
    found = _InFractions().visit(node)
    assert isinstance(found, ast.expr)
    return found


class _Linked(ast.NodeTransformer):
    def __init__(self, names: Mapping[Fraction, str]) -> None:
        self.names = names

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        name = self.names.get(Fraction(str(node.value)))
        return ast.Name(name) if name else node


def linked(node: ast.expr, names: Mapping[Fraction, str]) -> ast.expr:
    """The same expression with the numbers in `names` replaced by those names."""
    found = _Linked(names).visit(node)
    assert isinstance(found, ast.expr)
    return found
