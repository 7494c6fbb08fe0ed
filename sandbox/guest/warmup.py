"""Calls that are slow the first time: they import lazily and fill tables that hold no program's data."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from sandbox.guest import heap

# What our runner needs once a program is in its jail, and what programs that need no library import most. Not more: a
# fork copies what it will not use, 40 microseconds for each shared library.
STANDARD = (
    "collections", "contextlib", "copy", "dataclasses", "enum", "functools", "io", "itertools", "json",
    "math", "operator", "os", "random", "re", "string", "sys", "textwrap", "threading", "time", "traceback", "types",
    "typing", "warnings",
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


# What is asked of sympy all the time, one line each, in the forms that models write. Symbols are real programs' names:
# sympy remembers the answers to its own questions (is x real? is sqrt(3) positive?) by the objects they were asked of.
SYMPY = """
solve(x**2 - 3*x + 2, x); solve(x**2 + x - 1, x); solve(2*x**2 - 5*x + 1); solve(x**2 + 1, x); solve(3*x + 7 - 22, x)
solve(Eq(x**3 - x - 1, 0), x); solve(x**3 - 6*x**2 + 11*x - 6, x); solve(x**4 - 5*x**2 + 4, x)
solve(n*(n + 1)/2 - 55, n); solve([x + y - 3, x - y - 1], [x, y]); solve((Eq(2*x + 3*y, 12), Eq(x - y, 1)), (x, y))
solve([x*y - 6, x + y - 5], [x, y]); solve([a + b + c - 6, a - b, 2*a + c - 5], [a, b, c]); solve(Eq(a*x + b, c), x)
linsolve([x + y - 3, x - y - 1], x, y); solve(sqrt(x + 1) - 3, x); solve(2**x - 8, x); solve(log(x, 2) - 3, x)
solve(Eq(1/x + 1/3, 1/2), x); solve(Rational(1, 3)*x + Rational(1, 2) - 2, x); solve(sin(x) - Rational(1, 2), x)
solve(x**2 - 4 > 0, x); solve(x**2 < 9); solveset(sin(x), x); solveset(x**2 - 2, x, domain=S.Reals)
solve_univariate_inequality(x**2 - x - 6 <= 0, x); simplify(sin(x)**2 + cos(x)**2 + (x**2 - 1)/(x - 1))
simplify((x**2 - 5*x + 6)/(x - 3)); simplify(sqrt(8) + sqrt(18)/3); simplify(sqrt(12)*sqrt(75)/4)
simplify(3*(x + 2) - 2*(x - 1)); simplify(2**Rational(3, 2)*6**Rational(1, 2)); simplify(I**2)
factor(expand((x + 1)**3)); factor(x**2 - y**2); expand((x + y)**4); expand((2*x - 3)*(x**2 + x + 1))
apart(1/(x*(x + 1)), x); together(1/x + 1/y); cancel((x**2 - 1)/(x + 1)); collect(expand((x + a)*(x + b)), x)
radsimp(1/(sqrt(3) - 1)); trigsimp(tan(x)*cos(x)); integrate(x*sin(x), (x, 0, pi)); integrate(1/(x**2 + 1), x)
integrate(x**2 + 3*x, (x, 0, 2)); integrate(exp(-x), (x, 0, oo)); diff(log(x)/x, x); diff(x**3 - 3*x, x)
diff(sin(x)*exp(x), x, 2); limit(sin(x)/x, x, 0); limit((1 + 1/n)**n, n, oo); series(exp(x), x)
summation(1/n**2, (n, 1, oo)); summation(k**2, (k, 1, 10)); summation(k, (k, 1, n)); product(k, (k, 1, 5))
Sum(1/2**k, (k, 0, oo)).doit(); latex(Rational(1, 3)*sqrt(x)/y); str(Rational(22, 7)*pi); pretty(x**2/2)
str(sqrt(5)/2 + Rational(1, 2)); str(2*sqrt(3)*I - 1); Matrix([[1, 2], [3, 4]]).inv()
Matrix([[2, 0, 1], [1, 3, 2], [0, 1, 1]]).det(); Matrix([[2, 1], [1, 2]]).eigenvals()
Matrix([1, 2, 3]).dot(Matrix([4, 5, 6])); Matrix([1, 0, 2]).cross(Matrix([0, 1, 1]))
Matrix([[1, 2], [3, 4]])*Matrix([1, 1]); sympify("2*x + 1/3").evalf(); sqrt(2).evalf(30); N(pi/3); N(sqrt(7) - 1, 5)
nsimplify(0.5); float(sqrt(3)/2); Float(0.1) + 1; sin(pi/6) + cos(pi/3)*tan(pi/4) - sin(5*pi/12); cos(rad(60))
asin(Rational(1, 2)); acos(-sqrt(2)/2); atan(1); deg(pi/5); sqrt(-4); factorint(360); primefactors(84); divisors(36)
isprime(97); prime(10); nextprime(20); totient(12); gcd(12, 18); lcm(4, 6); mod_inverse(3, 11); binomial(10, 3)
factorial(6); fibonacci(10); floor(Rational(7, 2)); ceiling(2.1); Mod(17, 5); root(27, 3); cbrt(8); log(8, 2); Abs(-3)
Poly(x**3 - 2*x + 1, x).coeffs(); Poly(x**2 + 2*x + 1).discriminant(); roots(x**3 - 2*x**2 - x + 2, x)
degree(x**3 + 1); div(x**3, x - 1, domain="QQ"); real_roots(x**3 - x); nroots(x**3 - x - 1); rem(x**4, x**2 + 1)
discriminant(x**2 + 3*x + 1, x); (x**2 + y).subs({x: 2, y: 3}); resultant(x**2 - 1, x - 2)
Interval(0, 3).intersect(Interval.open(1, 5)); FiniteSet(1, 2) & FiniteSet(2, 3); Point(0, 0).distance(Point(3, 4))
Line(Point(0, 0), Point(1, 2)).slope; Triangle(Point(0, 0), Point(4, 0), Point(0, 3)).area
Circle(Point(0, 0), 2).area; symbols("x y z", real=True); Function("f")(x)
"""


def exercise_sympy() -> None:
    """Go through sympy's common paths once. What sympy remembers of it stays, the same in every run."""
    import sympy

    names = {name: sympy.Symbol(name) for name in ("x", "y", "z", "a", "b", "c", "k")}
    names["n"] = sympy.Symbol("n", integer=True, positive=True)
    scope = {**vars(sympy), **names}
    for line in SYMPY.strip().splitlines():
        for expression in line.split("; "):
            eval(expression, scope)  # ours, not a user's


def exercise_pandas() -> None:
    """A table's common paths: made, grouped, printed."""
    import pandas  # type: ignore[import-untyped, unused-ignore]

    table = pandas.DataFrame({"a": [1, 2, 2], "b": [0.5, 1.5, 2.5], "c": ["x", "y", "y"]})
    (
        str(table),
        repr(table.groupby("a")["b"].mean()),
        table.describe(),
        table.sort_values("b"),
        table["c"].value_counts(),
    )
    str(table.merge(table, on="a")), table.loc[table["a"] > 1, "b"].sum(), str(table.to_dict())


def exercise_matplotlib() -> None:
    """Draw a figure once: fonts are looked for, the renderer is loaded."""
    import io

    import matplotlib.font_manager
    import matplotlib.pyplot

    figure, axes = matplotlib.pyplot.subplots()
    axes.plot([0, 1], [0, 1], label="x")
    axes.set_title("t")
    axes.legend()
    figure.savefig(io.BytesIO(), format="png")
    matplotlib.pyplot.close(figure)
    # A font is an open file, which no fork keeps: each opens those that it draws with.
    matplotlib.font_manager._get_font.cache_clear()  # type: ignore[attr-defined, unused-ignore]


EXERCISES: dict[str, Callable[[], None]] = {
    "numpy": exercise_numpy,
    "sympy": exercise_sympy,
    "pandas": exercise_pandas,
    "matplotlib.pyplot": exercise_matplotlib,
}


def warm_up(libraries: list[str], proc: int) -> None:
    """Import the libraries, exercise what the first call of each makes slow, and settle the memory for forking."""
    for name in libraries:
        importlib.import_module(name)
    for name in libraries:
        if exercise := EXERCISES.get(name):
            exercise()
    heap.settle()
    heap.use_huge_pages(proc)
