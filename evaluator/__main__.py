"""`python -m evaluator run | sample | table | compare | report | export | regrade | merge`.

The rest is imported by `main`, not before: `run_command` then says in one line which package is not installed.
"""

from __future__ import annotations

import sys

from sandbox.command import run_command
from sandbox.flags import Parser


def parser() -> Parser:
    """The parser; `command` in its result names the command."""
    from evaluator.arguments import parser

    return parser()


def main(argv: list[str]) -> int:
    """Run the command in `argv`; see `--help`."""
    from evaluator.commands import main

    return main(argv)


if __name__ == "__main__":
    sys.exit(run_command(main))
