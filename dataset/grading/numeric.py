"""Values of expressions at points: in floats, which shows most differences, and to 60 digits, which shows the rest.

Agreement to 50 digits at several points counts as equality. That is no proof, but no answer to a school or
competition problem comes this close without being equal. Numbers too large to tell from their neighbours at this
precision are not decided.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from mpmath import MPContext, fp

from dataset.grading.tree import BINDING, App, Node, Num, Qty, Sym, children, variables

DIGITS = 60
AGREE_DIGITS = 50
_LARGEST_BITS = 2_000_000  # of a number's exponent; beyond, even its logarithm is slow
_POINTS = 4
_SMALL_POWER = 1000
_MAX_TERMS = 100_000  # of a finite sum
_CLEARLY = 1e-6  # an infinite sum that is this far off is another; one that is nearer may be summed inexactly


class NoValue(ValueError):
    """The expression has no finite value here, or one too large to work with."""


def points(names: Sequence[str], whole: frozenset[str] = frozenset()) -> list[dict[str, Fraction]]:
    """Fixed, scattered rational values for `names`: positive, away from 0 and 1; the last point is negative.

    Those in `whole`, the ends of sums, get whole numbers.
    """
    found = []
    for index in range(_POINTS):
        seed = 1 + index
        point = {}
        for name in names:
            seed = (seed * 48_271 + 11) % 2_147_483_647
            value = Fraction(13, 10) + Fraction(seed % 997, 1_009)
            point[name] = Fraction(3 + index) if name in whole else -value if index == _POINTS - 1 else value
        found.append(point)
    return found if names else [{}]


def clearly_differ(one: Node, other: Node) -> bool:
    """Whether floats already show that `one` and `other` differ. False says nothing."""
    names = sorted(variables(one) | variables(other))
    for point in points(names)[:2]:
        try:
            peak: list[float] = [1e-300]
            left, right = (complex(evaluate(node, point, fp, peak)) for node in (one, other))
        except (NoValue, ArithmeticError, ValueError, TypeError):
            return False
        # `peak` is the largest term that was added: what cancels against it is lost in floats.
        if not abs(left - right) <= 1e-7 * max(peak[0], abs(left), abs(right)):
            return True
    return False


def agree(one: Node, other: Node) -> bool | None:
    """Whether `one` and `other` agree to 50 digits wherever both have values; None where this cannot tell.

    May run very long: call it through `numeric_process`.
    """
    context = MPContext()
    context.dps = DIGITS
    names = sorted(variables(one) | variables(other))
    whole = _ends(one) | _ends(other)
    bound = _binds(one) or _binds(other)
    agreed = 0
    for point in points(names, whole):
        negative = any(value < 0 for value in point.values())
        try:
            peak: list[Any] = [context.mpf(10) ** -300]
            left, right = (context.mpc(evaluate(node, point, context, peak)) for node in (one, other))
        except (NoValue, ArithmeticError, ValueError, TypeError):
            continue
        # Roots of negative numbers are a matter of branches: such points say nothing about real answers.
        if negative and (left.imag or right.imag):
            continue
        size = max(abs(left), abs(right), peak[0])
        if abs(left - right) > size * context.mpf(10) ** -AGREE_DIGITS:
            return None if bound and abs(left - right) <= _CLEARLY * size else False
        if size > context.mpf(10) ** AGREE_DIGITS:
            return None
        agreed += 1
    return True if agreed >= min(2, len(points(names))) else None


def _binds(node: Node) -> bool:
    """Whether a sum, product or integral is in `node`."""
    return (isinstance(node, App) and node.op in BINDING) or any(_binds(child) for child in children(node))


def _ends(node: Node) -> frozenset[str]:
    """The letters in the limits of sums and products."""
    below = frozenset[str]().union(*(_ends(child) for child in children(node)))
    if isinstance(node, App) and node.op in ("sum", "prod"):
        return below | variables(node.args[2]) | variables(node.args[3])
    return below


def evaluate(node: Node, point: Mapping[str, Any], context: Any, peak: list[Any]) -> Any:
    """The value of `node` at `point` in an mpmath context (`fp` for floats). `peak[0]` grows to the largest term added.

    Raises:
        NoValue: there is none.
        ArithmeticError, ValueError: the context's own, for overflow and for poles.
    """
    if isinstance(node, Num):
        return _fraction(node.value, context)
    if isinstance(node, Sym):
        if node.name == "oo":
            raise NoValue("infinity")
        if node.name == "i":
            return context.mpc(0, 1)
        if node.name in ("pi", "e"):
            return +getattr(context, node.name)
        value = point[node.name]
        return _fraction(value, context) if isinstance(value, Fraction) else value
    if isinstance(node, Qty) and node.unit == "%":
        return evaluate(node.value, point, context, peak) / 100
    if not isinstance(node, App):
        raise NoValue(type(node).__name__)
    if node.op in BINDING:
        return _finite(_bound(node, point, context, peak), context)
    values = [evaluate(argument, point, context, peak) for argument in node.args]
    if node.op == "add":
        peak[0] = max(peak[0], *(abs(value) for value in values))
    return _finite(_call(node.op, values, context), context)


def _bound(node: App, point: Mapping[str, Any], context: Any, peak: list[Any]) -> Any:
    """A sum, product or integral. Only to many digits, where time is limited: in floats none has a value."""
    if context is fp:
        raise NoValue("a sum or integral in floats")
    body, letter, *limits = node.args
    assert isinstance(letter, Sym)
    low, high = (_limit(limit, point, context, peak) for limit in limits)

    def value(at: Any) -> Any:
        return evaluate(body, {**point, letter.name: at}, context, peak)

    if node.op == "integral":
        found, error = context.quad(value, [low, high], error=True)
        if error > context.mpf(10) ** -AGREE_DIGITS:
            raise NoValue("an integral that is not found to many digits")
        return found
    infinite = context.isinf(low) or context.isinf(high)
    if not infinite and (low != int(low) or high != int(high) or high - low > _MAX_TERMS):
        raise NoValue("a sum that does not run over whole numbers, or over many")
    if infinite:
        return (context.nsum if node.op == "sum" else context.nprod)(value, [low, high])
    terms = (value(context.mpf(at)) for at in range(int(low), int(high) + 1))
    return context.fsum(terms) if node.op == "sum" else context.fprod(terms)


def _limit(node: Node, point: Mapping[str, Any], context: Any, peak: list[Any]) -> Any:
    if node == Sym("oo"):
        return context.inf
    return -context.inf if node == App("neg", (Sym("oo"),)) else context.re(evaluate(node, point, context, peak))


def _fraction(value: Fraction, context: Any) -> Any:
    return context.mpf(value.numerator) / context.mpf(value.denominator)


def _finite(value: Any, context: Any) -> Any:
    if context is fp:
        if not cmath.isfinite(value):
            raise NoValue("not finite")
    elif not context.isfinite(value) or context.mag(value) > _LARGEST_BITS:
        raise NoValue("not finite, or too large")
    return value


def _power(context: Any, base: Any, exponent: Any) -> Any:
    if context is not fp and base != 0:
        # Bits of the result: a logarithm takes as long as all else, so that small powers go without.
        size = context.mag(base) if abs(exponent) < _SMALL_POWER else context.log(abs(base), 2)
        bits = size * exponent
        if context.im(exponent) == 0 and context.re(bits) < -_LARGEST_BITS:
            return context.mpf(0)
        if abs(exponent) > _LARGEST_BITS or abs(bits) > _LARGEST_BITS:
            raise NoValue("too large")
        if base == context.e:
            return context.exp(exponent)
    elif base == 0 and exponent != 0 and context.re(exponent) > 0:
        return context.mpf(0)
    return context.power(base, exponent)


def _factorial(context: Any, value: Any) -> Any:
    if abs(value) > 100_000:
        raise NoValue("too large")
    return context.factorial(value)


def _binomial(context: Any, top: Any, bottom: Any) -> Any:
    if abs(top) > 100_000 or abs(bottom) > 100_000:
        raise NoValue("too large")
    return context.binomial(top, bottom)


def _root(context: Any, value: Any, degree: Any) -> Any:
    real = context.im(value) == 0
    if real and context.re(value) < 0 and degree == int(context.re(degree)) and int(context.re(degree)) % 2 == 1:
        return -context.power(-value, 1 / degree)  # the real root: the cube root of -8 is -2
    return context.power(value, 1 / degree)


# Functions of one argument that mpmath has under the same name.
_SAME_NAME = frozenset(
    str.split(
        "sqrt floor ceil ln sin cos tan cot sec csc asin acos atan acot asec acsc sinh cosh tanh coth asinh acosh atanh"
    )
)
_OTHER: dict[tuple[str, int], Callable[..., Any]] = {
    ("neg", 1): lambda context, x: -x,
    ("deg", 1): lambda context, x: x * context.pi / 180,
    ("abs", 1): lambda context, x: abs(x),
    ("ceiling", 1): lambda context, x: context.ceil(x),
    ("cbrt", 1): lambda context, x: _root(context, x, context.mpf(3)),
    ("exp", 1): lambda context, x: _power(context, +context.e, x),
    ("log", 1): lambda context, x: context.ln(x),
    ("lg", 1): lambda context, x: context.ln(x) / context.ln(context.mpf(10)),
    ("conjugate", 1): lambda context, x: context.conj(x),
    ("factorial", 1): _factorial,
    ("binomial", 2): _binomial,
    ("div", 2): lambda context, x, y: x / y,
    ("ratio", 2): lambda context, x, y: x / y,
    ("log", 2): lambda context, x, base: context.ln(x) / context.ln(base),
    ("pow", 2): _power,
    ("root", 2): _root,
}


def _call(op: str, values: list[Any], context: Any) -> Any:
    if op == "add":
        return sum(values[1:], values[0])
    if op == "mul":
        return context.fprod(values)
    if op in _SAME_NAME and len(values) == 1:
        return getattr(context, op)(values[0])
    function = _OTHER.get((op, len(values)))
    if function is None:
        raise NoValue(f"{op} of {len(values)}")
    return function(context, *values)
