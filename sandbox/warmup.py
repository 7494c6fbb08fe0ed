"""Calls that are slow the first time: they import lazily and fill tables that hold no program's data.

What must not stay: sympy's cache of results. It is cleared, so that no program's speed or memory depends on these.
"""

from __future__ import annotations

# Of the standard library, what short programs import, and what our runner needs once a program is in its jail.
STANDARD = (
    "base64", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "csv", "dataclasses", "datetime",
    "decimal", "enum", "fractions", "functools", "heapq", "inspect", "io", "itertools", "json", "math", "numbers",
    "operator", "os", "random", "re", "statistics", "string", "subprocess", "sys", "textwrap", "threading", "time",
    "traceback", "types", "typing", "unicodedata", "warnings",
)  # fmt: skip


def exercise_numpy() -> None:
    """Import what numpy imports on first use (numpy.random: 20 ms)."""
    import numpy

    numpy.random.seed(0)
    numpy.random.default_rng(0).random(2)
    numpy.linalg.solve(numpy.array([[2.0, 1.0], [1.0, 3.0]]), numpy.array([1.0, 2.0]))
    numpy.linalg.eig(numpy.array([[2.0, 1.0], [1.0, 3.0]]))
    numpy.roots([1, -3, 2])
    numpy.fft.fft(numpy.arange(4))
    str(numpy.arange(3) / 2), repr(numpy.float64(0.5))


def exercise_sympy() -> None:
    """Go through sympy's common paths once."""
    import sympy
    from sympy import (
        Eq,
        Matrix,
        Rational,
        cos,
        diff,
        expand,
        factor,
        integrate,
        latex,
        limit,
        log,
        oo,
        pi,
        simplify,
        sin,
        solve,
        solveset,
        sqrt,
        symbols,
        sympify,
    )
    from sympy.core.cache import clear_cache

    x, y = symbols("x y")
    n = symbols("n", integer=True, positive=True)
    solve(x**2 - 3 * x + 2, x)
    solve([x + y - 3, x - y - 1], [x, y])
    solve(Eq(x**3 - x - 1, 0), x)
    solve(sqrt(x + 1) - 3, x)
    solve(2**x - 8, x)
    solveset(sin(x), x)
    simplify(sin(x) ** 2 + cos(x) ** 2 + (x**2 - 1) / (x - 1))
    factor(expand((x + 1) ** 3))
    integrate(x * sin(x), (x, 0, pi))
    integrate(1 / (x**2 + 1), x)
    diff(log(x) / x, x)
    limit(sin(x) / x, x, 0)
    sympy.summation(1 / n**2, (n, 1, oo))
    latex(Rational(1, 3) * sqrt(x) / y)
    str(Matrix([[1, 2], [3, 4]]).inv())
    Matrix([[1, 2], [3, 4]]).det()
    sympify("2*x + 1/3").evalf()
    sqrt(2).evalf(30)
    sympy.nsimplify(0.5)
    sympy.factorint(360)
    sympy.binomial(10, 3)
    clear_cache()
