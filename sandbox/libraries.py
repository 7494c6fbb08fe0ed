"""Guesses from a program's text whether it needs the libraries that a warm zygote has; it does not parse it."""

from __future__ import annotations

import re
import sys

_IMPORT = re.compile(r"^\s*(?:import|from)\s+([\w.]+(?:\s*,\s*[\w.]+)*)", re.MULTILINE)
_DYNAMIC = re.compile(r"__import__|importlib|exec|eval|compile")


def needs_libraries(code: str) -> bool:
    """Whether a program may import more than the standard library; if in doubt, yes.

    It decides only from which zygote it is forked: a wrong guess costs the time of an import.
    """
    if _DYNAMIC.search(code):
        return True
    names = (name.strip().split(".")[0] for found in _IMPORT.findall(code) for name in found.split(","))
    return any(name not in sys.stdlib_module_names for name in names) or "; import " in code or ";import " in code
