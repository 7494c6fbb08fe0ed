"""The words and LaTeX commands that have a meaning of their own, each in one table."""

from __future__ import annotations

FUNCTIONS = frozenset(
    str.split(
        "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth asin acos atan acot "
        "asinh acosh atanh log ln lg exp sqrt cbrt root abs floor ceil ceiling factorial binomial conjugate"
    )
)
# What Python and sympy print around values.
CONSTRUCTORS = frozenset(
    str.split(
        "rational fraction matrix mutabledensematrix immutablematrix immutabledensematrix array set frozenset "
        "list tuple finiteset interval union intersection complement eq float int integer decimal mpf mpc point "
        "point2d point3d float64 float32 int64 int32 dict_values dict_keys emptyset piecewise"
    )
)
CONSTANTS = {"pi": "pi", "oo": "oo", "inf": "oo", "infty": "oo", "infin": "oo", "infinity": "oo"}
GREEK = frozenset(
    str.split(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau "
        "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"
    )
)
FRACTIONS = frozenset({"frac", "dfrac", "tfrac", "cfrac"})
BINOMIALS = frozenset({"binom", "dbinom", "tbinom"})
ENCLOSED = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
BARS = {"|": "|", "vert": "vert", "lvert": "rvert", "mid": "mid"}
LABELS = frozenset(
    str.split(
        "angle measuredangle triangle overline overrightarrow overleftrightarrow widehat hat bar vec widetilde tilde "
        "arc underline square odot parallel perp"
    )
)
# Commands that put something around their argument and leave it what it is.
WRAPPERS = frozenset({"hline", "mathstrut", "boxed", "fbox", "mathop", "mathbin", "mathrel", "ensuremath"})
# Commands that begin with the name of a function, constant or letter, and are another.
COMMANDS = FUNCTIONS | GREEK | frozenset(str.split("pi infty exists limits liminf limsup max min perp phantom prime"))
FUNCTION_LETTERS = frozenset("fghFGHPp")  # f(3) is a function's value, x(x + 1) a product
# Short words that are words wherever they stand; other short runs of letters are variables.
SMALL_WORDS = frozenset({"of", "per", "sq", "to", "mod", "mph", "kph", "usd", "rs", "rmb", "inr", "eur", "gbp"})
NUMBER_WORDS = dict(
    zip(
        str.split(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        ),
        range(20),
        strict=True,
    )
)
# Words that change what a number says; a phrase that has one is no unit.
NO_UNIT = frozenset(
    str.split(
        "not no minus plus times more less fewer over than negative root pi half quarter third squared cubed except "
        "equals is undefined nan none error approximately about if when where with hence thus therefore"
    )
)
EQUALS = frozenset({"=", "==", "is", "equals"})
