"""The kinds of zygotes by the libraries they have, and a guess from a program's text which of them it needs.

A wrong guess costs the time of an import, nothing else.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence

# From the one with least to the one with most: forks cost the more the more is loaded, each shared library 50
# microseconds. So what is asked for seldom, and takes half a second to import, has zygotes of its own.
KINDS = ("bare", "warm", "scipy")
SCIPY = ("scipy.integrate", "scipy.optimize", "scipy.special")

_IMPORT = re.compile(r"^\s*(?:import|from)\s+([\w.]+(?:\s*,\s*[\w.]+)*)", re.MULTILINE)
_DYNAMIC = re.compile(r"__import__|importlib|exec|eval|compile")
_SCIPY = re.compile(r"\bimport\s+scipy\b|\bfrom\s+scipy\b")


def kind_for(code: str) -> str:
    """The kind that has all a program may import; if in doubt, "warm"."""
    if _SCIPY.search(code):
        return "scipy"
    if _DYNAMIC.search(code):
        return "warm"
    names = (name.strip().split(".")[0] for found in _IMPORT.findall(code) for name in found.split(","))
    if any(name not in sys.stdlib_module_names for name in names) or "; import " in code or ";import " in code:
        return "warm"
    return "bare"


def to_load(kind: str, preload: Sequence[str]) -> Sequence[str]:
    """What a mother of this kind imports in an engine that preloads `preload`, beyond what kinds before it have.

    Nothing: there are to be no zygotes of this kind.
    """
    if kind == "warm":
        return preload
    if kind == "scipy" and "numpy" in preload and importlib.util.find_spec("scipy"):
        return SCIPY
    return ()
