"""How far a long command is: a bar on a terminal, and without one a plain line every half minute.

Both go to standard error and say the rate, the time left and what became of the rows. They have no colours.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

from tqdm import tqdm


def coloured(stream: TextIO) -> bool:
    """Whether colours belong on `stream`: a terminal, and NO_COLOR (https://no-color.org) is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


PLAIN_SECONDS = 30.0  # a log of a night has a thousand such lines


class Progress:
    """Counts `unit`s up to `total` (None: unknown) from `done` on; a context manager.

    `quiet` shows nothing. `bytes_` writes sizes as 3.2M.
    """

    def __init__(
        self,
        what: str,
        *,
        total: int | None,
        unit: str,
        quiet: bool,
        done: int = 0,
        bytes_: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._what, self._total, self._unit, self._bytes = what, total, unit, bytes_
        self._done = self._first = done
        self._outcomes = ""
        self._clock, self._started = clock, clock()
        self._said = self._started
        self._plain = not quiet and not terminal
        self._bar = tqdm(
            desc=what, total=total, initial=done, unit=unit if bytes_ else f" {unit}", unit_scale=bytes_,
            disable=quiet or not terminal, file=sys.stderr, dynamic_ncols=True,
        )  # fmt: skip

    def update(self, count: int = 1, outcomes: str = "") -> None:
        """`count` more are done; `outcomes` says what became of all so far, such as "kept 97.1%"."""
        self._done += count
        if outcomes:
            self._outcomes = outcomes
            self._bar.set_postfix_str(outcomes, refresh=False)
        self._bar.update(count)
        if self._plain and self._clock() - self._said >= PLAIN_SECONDS:
            self._said = self._clock()
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """What a log gets: "verify: 1,200 of 5,000 rows (24%), 40 rows/s, 01:35 left, kept 97.1%"."""
        elapsed = max(self._clock() - self._started, 1e-9)
        rate = (self._done - self._first) / elapsed
        number: Callable[[float], str] = tqdm.format_sizeof if self._bytes else lambda value: f"{value:,.0f}"
        parts = [f"{number(self._done)} {self._unit}"]
        if self._total:
            parts = [f"{number(self._done)} of {number(self._total)} {self._unit} ({self._done / self._total:.0%})"]
        parts.append(f"{number(rate) if rate >= 10 or self._bytes else format(rate, '.2g')} {self._unit}/s")
        if self._total and rate:
            parts.append(f"{tqdm.format_interval((self._total - self._done) / rate)} left")
        return f"{self._what}: {', '.join([*parts, *([self._outcomes] if self._outcomes else [])])}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
