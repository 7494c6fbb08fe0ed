"""Other projects' sandbox APIs, answered by this server: their clients change one address and nothing else.

A module is one project's routes. Each keeps that project's fields and words, and one promise of ours: what the sandbox
itself could not do is answered so that the project's client asks again, never as an outcome of the program.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from sandbox.types import ExecResult

# Counts a program or a cell in the server's metrics, and gives its outcome.
Observe = Callable[[Literal["run", "cell"], Awaitable[ExecResult]], Awaitable[ExecResult]]
