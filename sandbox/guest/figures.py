"""Figures that a program shows: counted, and drawn into PNG files where the request asks for them.

There is no screen. `plt.show()` shows every open figure; in a notebook a figure that is open when its cell ends is
shown, too, and whatever was shown is closed, as Jupyter does. A script's stay open, as on any machine without a screen.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Protocol

MOST_FILES = 20  # drawn for one run or cell; more are counted only


class Shower(Protocol):
    """Who shows them: a script or not, and the folder that they are to be drawn into, if any."""

    script: bool
    draw_into: str | None


class Figures:
    """Those of one program or session. Files are `figure-1.png` and so on, in the folder that it began in."""

    program: Shower

    def __init__(self) -> None:
        self.shown = 0
        self.files: list[str] = []
        self._number = 0

    def begin(self) -> None:
        """Before a run or a cell."""
        self.shown, self.files = 0, []

    def end(self) -> None:
        """After it: a notebook's open figures are shown."""
        if not self.program.script:
            with contextlib.suppress(Exception):  # whatever the program has made of matplotlib
                self.show()

    def show(self) -> None:
        """What `plt.show()` does: show every open figure."""
        pyplot = sys.modules["matplotlib.pyplot"]
        numbers = pyplot.get_fignums()
        for number in numbers:
            self.show_one(pyplot.figure(number))
        if numbers and not self.program.script:
            pyplot.close("all")

    def show_one(self, figure: Any) -> None:
        self.shown += 1
        folder = self.program.draw_into
        if folder is None or len(self.files) >= MOST_FILES:
            return
        self._number += 1
        name = f"figure-{self._number}.png"
        try:
            figure.savefig(os.path.join(folder, name), format="png", bbox_inches="tight")
        except Exception as error:  # noqa: BLE001 - a formula that cannot be set, say; without the wish nobody would see
            print(f"{name} could not be drawn: {type(error).__name__}: {error}", file=sys.stderr)
        else:
            self.files.append(name)


FIGURES = Figures()


def take_over(pyplot: Any) -> None:
    """Let `plt.show()` count, whichever backend the program chooses."""

    def show(*_: object, **__: object) -> None:  # a function: matplotlib gives it a signature
        FIGURES.show()

    pyplot.show = show
