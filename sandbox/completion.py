"""`soroban completion bash | zsh | tcsh`: print a script that completes commands, flags, choices and file names."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sandbox.errors import InputError
from sandbox.flags import Parser

SHELLS = ("bash", "zsh", "tcsh")
_HOW = "try: soroban completion bash > ~/.local/share/bash-completion/completions/soroban"


def main(arguments: list[str], commands: Mapping[str, str]) -> int:
    """Print the script for the shell that `arguments` name; `commands` are packages and what they do.

    Raises:
        InputError: no such shell.
        ModuleNotFoundError: shtab is not installed; `sandbox.command.missing_extra` says which extra brings it.
    """
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise InputError(f"completion {' '.join(arguments)}: expected one of {', '.join(SHELLS)}; {_HOW}")
    import shtab

    whole = whole_parser(commands)
    for action in _actions(whole):
        if action.type is Path or action.metavar in ("FILE", "FOLDER", "FILE|-"):
            action.complete = shtab.FILE  # type: ignore[attr-defined] # which shtab looks for
    sys.stdout.write(shtab.complete(whole, shell=arguments[0]))
    return 0


def whole_parser(commands: Mapping[str, str]) -> Parser:
    """One parser with the parsers of all `commands` below it."""
    whole = Parser(prog="soroban", description="Train and score language models that solve mathematics.")
    below = whole.add_subparsers(dest="package", required=True, metavar="COMMAND")
    for name, purpose in commands.items():
        parser = importlib.import_module(f"{name}.__main__").parser()
        below.add_parser(
            name, help=purpose, parents=[parser], add_help=False, prog=parser.prog, usage=parser.usage,
            description=parser.description, epilog=parser.epilog,
        )  # fmt: skip
    return whole


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
