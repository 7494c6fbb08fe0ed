"""Exact arithmetic with bounded size: a normal form for sums of products of rationals, roots, letters and i.

Two answers with the same normal form are equal. Two whose normal forms differ and have no opaque part (a function, a
sum in a denominator, a power with a letter in it) are different: roots of distinct primes are linearly independent
over the rationals (Besicovitch 1940), and letters and pi are taken as independent. Whatever is too large or not of this
kind has no normal form here, and `numeric` decides.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb, factorial, floor
from typing import TypeAlias

from dataset.grading.tree import App, Node, Num, Qty, Sym

MAX_BITS = 14_000  # about 4,200 digits, within what Python reads and prints
MAX_TERMS = 100
MAX_POWER = 32  # of a sum; of a number the bits decide
_PRIMES = tuple(n for n in range(2, 1000) if all(n % d for d in range(2, int(n**0.5) + 1)))

Monomial: TypeAlias = tuple[tuple[str, Fraction], ...]  # (letter, "√prime" or opaque part, exponent), sorted
Sum: TypeAlias = dict[Monomial, Fraction]

_HALF = Fraction(1, 2)
_ONE = Fraction(1)


class NoNormalForm(ValueError):
    """It is too large, infinite, undefined, or not an expression."""


def rational(node: Node) -> Fraction | None:
    """The value of `node` if it is a rational number of bounded size, else None."""
    if isinstance(node, Num):
        return node.value
    try:
        found = normal(node)
    except NoNormalForm:
        return None
    return constant(found)


def constant(form: Sum) -> Fraction | None:
    if not form:
        return Fraction(0)
    return form.get(()) if len(form) == 1 else None


def opaque(form: Sum) -> bool:
    """Whether something in `form` may hide an equality: see the module's words."""
    return any("(" in part for monomial in form for part, _ in monomial)


def normal(node: Node) -> Sum:
    """The normal form of an expression.

    Raises:
        NoNormalForm: see there.
    """
    if isinstance(node, Num):
        return _sum({(): node.value})
    if isinstance(node, Sym):
        if node.name == "oo":
            raise NoNormalForm("infinity")
        return {((node.name, _ONE),): _ONE}
    if isinstance(node, Qty) and node.unit == "%":
        return multiply(normal(node.value), {(): Fraction(1, 100)})
    if isinstance(node, App):
        return _apply(node)
    raise NoNormalForm(type(node).__name__)


def _apply(node: App) -> Sum:
    op, args = node.op, node.args
    if op == "add":
        total = normal(args[0])
        for argument in args[1:]:
            total = add(total, normal(argument))
        return total
    if op == "neg":
        return multiply(normal(args[0]), {(): Fraction(-1)})
    if op == "mul":
        product = normal(args[0])
        for argument in args[1:]:
            product = multiply(product, normal(argument))
        return product
    if op == "div":
        return multiply(normal(args[0]), _inverse(normal(args[1])))
    if op == "ratio" and len(args) == 2:
        return multiply(normal(args[0]), _inverse(normal(args[1])))
    if op == "deg":
        return multiply(normal(args[0]), {(("pi", Fraction(1)),): Fraction(1, 180)})
    if op == "sqrt":
        return power(normal(args[0]), _HALF)
    if op in ("root", "cbrt"):
        degree = rational(args[1]) if op == "root" else Fraction(3)
        if degree is None or degree == 0:
            raise NoNormalForm("a root of no degree")
        return power(normal(args[0]), 1 / degree)
    if op == "pow":
        # Once: in a tower of powers twice a level would be 2 ** height times.
        form: Sum = {(): args[1].value} if isinstance(args[1], Num) else normal(args[1])
        exponent = constant(form)
        if exponent is None:
            return _opaque(op, [normal(args[0]), form])
        return power(normal(args[0]), exponent)
    return _function(op, [normal(argument) for argument in args])


def _function(op: str, forms: list[Sum]) -> Sum:
    values = [constant(form) for form in forms]
    first = values[0]
    if first is not None and None not in values:
        whole = first.denominator == 1
        if op == "factorial" and whole and 0 <= first <= 1_000:
            return _sum({(): Fraction(factorial(int(first)))})
        if op == "binomial" and whole and len(values) == 2 and 0 <= first <= 10_000:
            second = values[1]
            if second is not None and second.denominator == 1 and second >= 0:
                if min(second, first - second) > 2_000:
                    raise NoNormalForm("a binomial of more than 4,000 digits")
                return _sum({(): Fraction(comb(int(first), int(second)))})
        if op == "abs":
            return _sum({(): abs(first)})
        if op in ("floor", "ceil", "ceiling"):
            return _sum({(): Fraction(floor(first) if op == "floor" else -floor(-first))})
    return _opaque(op, forms)


def _opaque(op: str, forms: list[Sum]) -> Sum:
    return {((f"{op}({';'.join(written(form) for form in forms)})", Fraction(1)),): Fraction(1)}


def written(form: Sum) -> str:
    """`form` as text, the same for the same form."""
    return "+".join(
        f"{coefficient}*" + "*".join(f"{part}^{exponent}" for part, exponent in monomial)
        for monomial, coefficient in sorted(form.items(), key=lambda item: repr(item[0]))
    )


def _sum(form: Sum) -> Sum:
    """`form` without zero terms.

    Raises:
        NoNormalForm: too many terms, or too large a number.
    """
    if len(form) > MAX_TERMS:
        raise NoNormalForm("too many terms")
    kept = {monomial: value for monomial, value in form.items() if value}
    for value in kept.values():
        if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
            raise NoNormalForm("too large")
    return kept


def add(one: Sum, other: Sum) -> Sum:
    total = dict(one)
    for monomial, value in other.items():
        total[monomial] = total[monomial] + value if monomial in total else value
    return _sum(total)


def multiply(one: Sum, other: Sum) -> Sum:
    if len(one) * len(other) > 4 * MAX_TERMS:
        raise NoNormalForm("too many terms")
    product: Sum = {}
    for left, a in one.items():
        for right, b in other.items():
            monomial, factor = _join(left, right)
            term = a * b if factor is _ONE else a * b * factor
            product[monomial] = product[monomial] + term if monomial in product else term
    return _sum(product)


def _join(one: Monomial, other: Monomial) -> tuple[Monomial, Fraction]:
    """The product of two monomials, and the rational that comes out of i² = -1 and √2·√2 = 2."""
    if not one:
        return other, _ONE
    if not other:
        return one, _ONE
    exponents = dict(one)
    for part, exponent in other:
        exponents[part] = exponents.get(part, Fraction(0)) + exponent
    return _tidy(exponents)


def _tidy(exponents: dict[str, Fraction]) -> tuple[Monomial, Fraction]:
    factor = _ONE
    kept = []
    for part, exponent in exponents.items():
        if part == "i" and exponent.denominator == 1:
            turns = int(exponent) % 4
            factor *= -1 if turns in (2, 3) else 1
            exponent = Fraction(turns % 2)
        elif part[0] == "√":
            whole = floor(exponent)
            factor *= Fraction(int(part[1:])) ** whole
            exponent -= whole
        if exponent:
            kept.append((part, exponent))
    return tuple(sorted(kept)), factor


def _inverse(form: Sum) -> Sum:
    if not form:
        raise NoNormalForm("a division by zero")
    if len(form) == 1:
        ((monomial, value),) = form.items()
        tidied, factor = _tidy({part: -exponent for part, exponent in monomial})
        return _sum({tidied: factor / value})
    # The same sum up to a factor gets the same name.
    lead = form[min(form, key=repr)]
    monic = {monomial: value / lead for monomial, value in form.items()}
    return {((f"({written(monic)})", Fraction(-1)),): 1 / lead}


def power(form: Sum, exponent: Fraction) -> Sum:
    """`form` to a rational power.

    Raises:
        NoNormalForm: the result would be too large or is undefined.
    """
    if exponent.denominator == 1:
        return _whole_power(form, int(exponent))
    base = constant(form)
    if base is None:
        if len(form) == 1:
            ((monomial, value),) = form.items()
            if value == 1 and len(monomial) == 1 and monomial[0][1] == 1:
                return {((monomial[0][0], exponent),): Fraction(1)}
        return {((f"({written(form)})", exponent),): Fraction(1)}
    if base == 0:
        return {}
    if exponent.numerator.bit_length() > 12 or exponent.denominator.bit_length() > 8:
        raise NoNormalForm("a large fractional power")
    turned: Sum = {(): Fraction(1)}
    if base < 0:
        if exponent.denominator != 2:
            raise NoNormalForm("a root of a negative number")
        turned = _whole_power({(("i", Fraction(1)),): Fraction(1)}, exponent.numerator)
    return multiply(turned, multiply(_root(abs(base).numerator, exponent), _root(base.denominator, -exponent)))


def _whole_power(form: Sum, exponent: int) -> Sum:
    if exponent < 0:
        return _whole_power(_inverse(form), -exponent)
    if len(form) > 1 and exponent > MAX_POWER:
        raise NoNormalForm("a large power of a sum")
    largest = max((max(abs(v.numerator), v.denominator).bit_length() for v in form.values()), default=1)
    if exponent.bit_length() > 20 or (largest - 1) * exponent > MAX_BITS:
        raise NoNormalForm("too large")
    if len(form) == 1:
        ((monomial, value),) = form.items()
        tidied, factor = _tidy({part: e * exponent for part, e in monomial})
        return _sum({tidied: factor * value**exponent})
    result: Sum = {(): Fraction(1)}
    for _ in range(exponent if form else min(exponent, 1)):
        result = multiply(result, form)
    return result


def _root(number: int, exponent: Fraction) -> Sum:
    """A positive integer to a fractional power, as a product of prime roots."""
    if number.bit_length() > 200:
        raise NoNormalForm("a root of a large number")
    exponents: dict[str, Fraction] = {}
    rest = number
    for prime in _PRIMES:
        if prime * prime > rest:
            break
        while rest % prime == 0:
            rest //= prime
            exponents[f"√{prime}"] = exponents.get(f"√{prime}", Fraction(0)) + exponent
    if rest > 1:
        # Not split further: a product of two large primes, or the square of one, would be taken for a prime.
        if rest > _PRIMES[-1] ** 2:
            return {((f"(√{rest})", exponent),): Fraction(1)}
        exponents[f"√{rest}"] = exponents.get(f"√{rest}", Fraction(0)) + exponent
    monomial, factor = _tidy(exponents)
    return _sum({monomial: factor})
