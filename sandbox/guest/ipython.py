"""What programs import of IPython, where it is not installed: `display`, `Math`, `get_ipython` and what is around them.

`install` also lets four libraries be followed when they are imported: figures are counted, tables are as wide as in a
notebook, and sympy takes gmpy2's numbers. Nothing is imported for that, and nothing is changed of other programs.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec
from typing import Any

from sandbox.guest import figures
from sandbox.guest.display import pretty

_shell: Any = None  # the notebook of this process


def display(*values: Any, raw: bool = False, display_id: Any = None, **_: object) -> Any:
    """Print each value as a notebook's last one is shown; a figure is counted instead."""
    for value in values:
        if type(value).__module__ == "matplotlib.figure":
            figures.FIGURES.show_one(value)
        elif raw and isinstance(value, dict):
            print(value.get("text/plain", ""))
        else:
            print(_shell.text(value) if _shell is not None else pretty(value))
    return DisplayHandle(display_id) if display_id else None


class DisplayHandle:
    """What `display(…, display_id=…)` gives: what is shown again is printed below."""

    def __init__(self, display_id: Any = None) -> None:
        self.display_id = display_id

    def display(self, value: Any, **_: object) -> None:
        display(value)

    update = display


class DisplayObject:
    """Text, or a file, with the way to show it. Here the text is shown as it is, and a picture by its class."""

    shows_text = False

    def __init__(self, data: Any = None, url: str | None = None, filename: str | None = None, **_: object) -> None:
        self.data, self.url, self.filename = data, url, filename
        if filename is not None and data is None:
            with open(filename, "rb") as file:
                content = file.read()
            self.data = content.decode() if self.shows_text else content

    def __repr__(self) -> str:
        if self.shows_text and isinstance(self.data, str):
            return self.data
        return f"<IPython.core.display.{type(self).__name__} object>"


class _Text(DisplayObject):
    shows_text = True


class Math(_Text):
    def __repr__(self) -> str:
        return f"${str(self.data).strip('$')}$"


def _do_nothing(*_: object, **__: object) -> None:
    pass


def get_ipython() -> Any:
    """The notebook, to the user's own code; to libraries None, because they would ask it for what it has not."""
    return _shell if sys._getframe(1).f_globals.get("__name__") == "__main__" else None


class _Settings(type):
    """`InteractiveShell.ast_node_interactivity = "all"`, as notebooks write it: each expression's value is shown."""

    def __setattr__(cls, name: str, value: object) -> None:
        if _shell is not None and name == "ast_node_interactivity":
            _shell.ast_node_interactivity = value


class InteractiveShell(metaclass=_Settings):
    """The notebook's settings, under the name of IPython's class."""

    @classmethod
    def instance(cls) -> Any:
        return _shell


def _display_names() -> dict[str, object]:
    as_text = ("Latex", "Markdown", "HTML", "Pretty", "Code", "TextDisplayObject")
    by_class = ("Image", "SVG", "JSON", "GeoJSON", "Javascript", "Audio", "Video", "IFrame", "YouTubeVideo", "FileLink")
    texts = {name: type(name, (_Text,), {}) for name in as_text}
    pictures = {name: type(name, (DisplayObject,), {}) for name in by_class}
    shown = ("display_pretty", "display_html", "display_markdown", "display_latex", "display_png", "display_svg")
    return {
        "Math": Math, "DisplayObject": DisplayObject, "DisplayHandle": DisplayHandle, "display": display,
        "update_display": display, "clear_output": _do_nothing, "set_matplotlib_formats": _do_nothing,
        "publish_display_data": _do_nothing, **texts, **pictures, **dict.fromkeys(shown, display),
    }  # fmt: skip


@lru_cache(1)
def _modules() -> dict[str, dict[str, object]]:
    """The names of each module that is stood in for."""
    shown = _display_names()
    version = {"__version__": "8.0.0", "version_info": (8, 0, 0, "")}
    return {
        "IPython": {"get_ipython": get_ipython, "InteractiveShell": InteractiveShell, **version},
        "IPython.display": shown,
        "IPython.core": {},
        "IPython.core.display": shown,
        "IPython.core.display_functions": shown,
        "IPython.core.getipython": {"get_ipython": get_ipython},
        "IPython.core.interactiveshell": {"InteractiveShell": InteractiveShell},
        "matplotlib_inline": {},
        "matplotlib_inline.backend_inline": {"set_matplotlib_formats": _do_nothing},
    }


class _StandIns:
    """Finds, last of all finders, the modules above."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith(("IPython", "matplotlib_inline")) or name not in _modules():
            return None
        return ModuleSpec(name, _StandIns(), is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__.update(_modules()[module.__name__])
        if module.__name__ == "IPython":
            importlib.import_module("IPython.display")


class _Followers:
    """Finds, first of all finders, the libraries of which something is to be done when they are imported."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name not in _FOLLOWED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            run, then = spec.loader.exec_module, _FOLLOWED[name]

            def exec_module(module: types.ModuleType) -> None:
                run(module)
                then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _widen(pandas: Any) -> None:
    """As many columns as a notebook shows; where there is a terminal, pandas shows what goes into its width."""
    pandas.set_option("display.max_columns", 20)


def _acquaint(_: Any) -> None:
    """Let sympy, which computes without gmpy2 here (`sandbox/engine/environment.py`), take its numbers."""
    gmpy2, numbers = sys.modules.get("gmpy2"), sys.modules.get("sympy")
    if gmpy2 is None or numbers is None:
        return
    converter = sys.modules["sympy.core.sympify"].converter
    converter[gmpy2.mpz] = lambda value: numbers.Integer(int(value))
    converter[gmpy2.mpq] = lambda value: numbers.Rational(int(value.numerator), int(value.denominator))


_FOLLOWED: dict[str, Callable[[Any], None]] = {
    "matplotlib.pyplot": figures.take_over,
    "pandas": _widen,
    "gmpy2": _acquaint,
    "sympy": _acquaint,
}


def install(shell: Any) -> None:
    """Let this process's program find all this; `shell` is its notebook. Before the program begins."""
    global _shell
    _shell = shell
    builtins.display = display  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _Followers)
    sys.meta_path.append(_StandIns)
    for name, then in _FOLLOWED.items():
        if name in sys.modules:
            then(sys.modules[name])
