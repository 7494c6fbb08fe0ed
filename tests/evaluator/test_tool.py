"""What a model's programs do is the same in a session and where they are joined and run again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from evaluator.protocols import PROTOCOLS
from evaluator.tool import Tool
from sandbox.client import AsyncSandbox

PROGRAMS = [
    "%matplotlib inline\nx = 6\nprint('first')",
    "    y = x * 7\n    print(y)",
    ">>> z = y + 1\n>>> print(z)",
    "print(x + 1)",
]


@pytest.mark.parametrize("state", ["session", "rerun"])
def test_notebook_syntax_is_read_in_a_session_and_in_programs_that_are_joined(state: Any) -> None:
    async def run() -> list[str]:
        protocol = replace(next(iter(PROTOCOLS.values())), state=state, profile="tora")
        async with AsyncSandbox(workers=1) as sandbox, Tool(sandbox, protocol) as tool:
            return [(await tool.run(program, shown=True)).strip() for program in PROGRAMS]

    assert asyncio.run(run()) == ["first", "42", "43", "7"]
