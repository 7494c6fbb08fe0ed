"""Run untrusted Python: `Sandbox` and `AsyncSandbox`, embedded or over HTTP, with the same verbs.

    from sandbox import Limits, Sandbox, render

    with Sandbox() as sandbox:
        result = sandbox.run("6 * 7", limits=Limits(wall_seconds=5))
        print(render(result, "notebook"))        # 42

Importing this package starts nothing and loads no server or HTTP library; the clients are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sandbox.errors import (
    BadRequest,
    InputError,
    Overloaded,
    SandboxError,
    SandboxUnavailable,
    SessionBusy,
    SessionLost,
    Unauthorized,
)
from sandbox.render import render
from sandbox.types import ExecError, ExecRequest, ExecResult, Limits, Truncated

if TYPE_CHECKING:
    from sandbox.client import AsyncSandbox, AsyncSession, Sandbox, Session

__all__ = [
    "AsyncSandbox",
    "AsyncSession",
    "BadRequest",
    "ExecError",
    "ExecRequest",
    "ExecResult",
    "InputError",
    "Limits",
    "Overloaded",
    "Sandbox",
    "SandboxError",
    "SandboxUnavailable",
    "Session",
    "SessionBusy",
    "SessionLost",
    "Truncated",
    "Unauthorized",
    "render",
]

_LATER = ("AsyncSandbox", "AsyncSession", "Sandbox", "Session")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'sandbox' has no attribute {name!r}")
    return getattr(importlib.import_module("sandbox.client"), name)
