"""The kinds of zygotes by the libraries they have, and a guess from a program's text which of them it needs.

"bare" has the standard library, "warm" what is loaded at the start. What is asked for seldom, and takes half a second
to import, is loaded when a program first asks for it, by zygotes of a kind of their own: forks cost the more the more
is loaded, each shared library 50 microseconds. Such a kind is named by its libraries: "pandas", "matplotlib+pandas".

A wrong guess costs the time of an import, nothing else.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Collection, Iterable, Sequence

from sandbox.errors import InputError

# Loaded at the start where `preload` names them, the libraries of most programs that need any.
AT_START = frozenset({"numpy", "sympy", "mpmath"})
# What is imported for each that is loaded when first asked for; of any other that `preload` names, the module itself.
ON_DEMAND: dict[str, tuple[str, ...]] = {
    "matplotlib": ("matplotlib.pyplot",),
    "networkx": ("networkx",),
    "pandas": ("pandas",),
    "scipy": ("scipy.integrate", "scipy.optimize", "scipy.special"),
    "sklearn": ("sklearn.linear_model", "sklearn.preprocessing", "sklearn.metrics", "sklearn.model_selection"),
}

_IMPORT = re.compile(r"\b(from|import)[ \t]+([^\n;#]+)")
_AT_LINE_START = re.compile(r"^\s*(?:import|from)\s+([\w.]+(?:\s*,\s*[\w.]+)*)", re.MULTILINE)
_DYNAMIC = re.compile(r"__import__|importlib|exec|eval|compile")


class Kinds:
    """The kinds that an engine with `preload` can have."""

    def __init__(self, preload: Sequence[str]) -> None:
        """Raises InputError if `preload` names what is not installed."""
        if missing := sorted({_top(name) for name in preload if importlib.util.find_spec(_top(name)) is None}):
            raise InputError(
                f"preload names {', '.join(missing)}, which this Python cannot import; install or leave out"
            )
        self.at_start = tuple(name for name in preload if _is_at_start(name))
        asked = {_top(name): (name,) for name in preload if not _is_at_start(name)}
        # They stand on numpy, or are of use beside it: without it an engine is for the standard library.
        usual = {
            name: load for name, load in ON_DEMAND.items() if "numpy" in preload and importlib.util.find_spec(name)
        }
        self._load = usual | {name: tuple(dict.fromkeys((*usual.get(name, ()), *load))) for name, load in asked.items()}

    @property
    def any_loaded(self) -> bool:
        """Whether there are to be zygotes besides the bare ones."""
        return bool(self.at_start or self._load)

    def of(self, code: str) -> str:
        """The kind that has all a program may import; if in doubt, "warm"."""
        if found := sorted(self._load.keys() & set(_imported(code))):
            return "+".join(found)
        if _DYNAMIC.search(code):
            return "warm"
        names = (_top(name) for found in _AT_LINE_START.findall(code) for name in found.split(","))
        if any(name not in sys.stdlib_module_names for name in names) or "; import " in code or ";import " in code:
            return "warm"
        return "bare"

    def to_load(self, kind: str) -> Sequence[str]:
        """What a mother of this kind imports, beyond what the one has that she is forked from."""
        if kind == "warm":
            return self.at_start
        return [module for name in kind.split("+") for module in self._load[name]]


def richest(kind: str, there: Collection[str]) -> str:
    """Of the kinds that are there, the one with most of what `kind` has, and nothing else; "bare" always is."""
    if kind in there or kind == "bare":
        return kind
    needed = set(kind.split("+"))
    fitting = [other for other in there if other not in ("bare", "warm") and set(other.split("+")) < needed]
    if fitting:
        return max(fitting, key=lambda other: other.count("+"))
    return "warm" if "warm" in there else "bare"


def _is_at_start(name: str) -> bool:
    return _top(name) in AT_START or _top(name) in sys.stdlib_module_names


def _top(name: str) -> str:
    return name.strip().split(".")[0]


def _imported(code: str) -> Iterable[str]:
    """The libraries in the import statements of a program, wherever they stand in it."""
    for word, rest in _IMPORT.findall(code):
        for name in rest.split(",") if word == "import" else (rest,):
            if words := name.split():
                yield _top(words[0])
