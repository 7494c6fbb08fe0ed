"""How every command of the project takes its flags: one parser for all, and TOML files with the flags' names.

What it adds to argparse: a slip is an `InputError`, one line that names the flag that may have been meant; help shows
defaults and ends with examples; `--config FILE` reads flags from a file. A flag on the command line wins over the file:

    out = "runs/verified"
    workers = 8
    cpu-seconds = 2          # or cpu_seconds
    quiet = true
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sandbox.errors import InputError

_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions and examples; shows defaults that the help does not name itself."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        unsaid = action.default in (None, argparse.SUPPRESS, False, (), "") or action.default == []
        if unsaid or not action.option_strings or "default" in text:
            return text
        return f"{text} (default: %(default)s)".strip()


class Parser(argparse.ArgumentParser):
    """A parser of our commands; `add_subparsers` makes its subcommands of the same kind.

    `examples` are whole command lines, one a line, without the program's name. With `config` it has `--config FILE`.

    Raises:
        InputError: from `parse_args`, for whatever argparse would print its usage and exit for.
    """

    def __init__(self, *, examples: str = "", config: bool = False, **options: Any) -> None:
        options = {"formatter_class": _Help, "allow_abbrev": False, **options}
        super().__init__(**options)
        if examples:
            lines = [f"  {self.prog} {line.strip()}".rstrip() for line in examples.strip().splitlines()]
            about = f"{self.epilog.strip()}\n\n" if self.epilog else ""
            self.epilog = about + "\n".join(["examples:", *lines])
        self._takes_file = config
        if config:
            self.add_argument(
                "--config", type=Path, metavar="FILE", help="TOML with these flags' names; flags given here win"
            )

    def usage_line(self) -> str:
        """What must be given; flags by the dozen would say nothing."""
        if self.usage is not None:
            return self.usage % {"prog": self.prog}
        needed = [
            f"{one.option_strings[0]} {one.metavar or one.dest.upper()}"
            for one in self._actions
            if one.required and one.option_strings
        ]
        positional = [
            str(one.metavar or one.dest.upper()) + (" …" if one.nargs in ("+", "*", argparse.PARSER) else "")
            for one in self._actions
            if not one.option_strings
        ]
        return " ".join([self.prog, *positional, *needed, "[FLAG …]"])

    def format_help(self) -> str:
        self.usage = self.usage_line().replace("%", "%%")
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but unknown arguments are an error here already, where the subcommand's flags are known."""
        given = list(sys.argv[1:] if args is None else args)
        if self._takes_file and (file := _config_file(given)) is not None:
            self._defaults_from(file)
        found, unknown = super().parse_known_args(given, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = [difflib.get_close_matches(one.partition("=")[0], flags, n=1) for one in unknown]
            meant = f" (is {near[0][0]} meant?)" if near[0] else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return found, unknown

    def _defaults_from(self, file: Path) -> None:
        """Make what `file` says the defaults.

        Raises:
            InputError: it cannot be read, or has unknown keys or wrong values; all are named at once.
        """
        flags = {
            flag.lstrip("-").replace("-", "_"): action
            for action in self._actions
            for flag in action.option_strings
            if action.dest not in ("help", "config")
        }
        problems: list[str] = []
        for name, value in read_toml(file, flags, problems).items():
            action = flags[name]
            try:
                action.default, action.required = _value(name, value, action), False
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise InputError(f"--config {file}: {'; '.join(problems)}")


def read_text(path: Path | str) -> str:
    """The text in a file that a flag names.

    Raises:
        InputError: it is not UTF-8.
        OSError: it cannot be read; `sandbox.command` says so in one line.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}: convert the file") from None


started_by = "python -m"  # or "soroban", set by its console script


def program(name: str) -> str:
    """What the user typed to start the command `name`."""
    return f"{started_by} {name}"


def version() -> str:
    try:
        return f"soroban {importlib.metadata.version('soroban')}"
    except importlib.metadata.PackageNotFoundError:
        return "soroban (a folder that was not installed)"


def _config_file(given: Sequence[str]) -> Path | None:
    for at, one in enumerate(given):
        if one == "--":
            break
        if one == "--config" and at + 1 < len(given):
            return Path(given[at + 1])
        if one.startswith("--config="):
            return Path(one.removeprefix("--config="))
    return None


def read_toml(file: Path, known: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The values in a TOML file by the names in `known`; what cannot be used is added to `problems`.

    Raises:
        InputError: no such file, or not TOML.
    """
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config {file}: not TOML: {error}") from None
    values: dict[str, Any] = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        if name in values:
            problems.append(f"{key!r} is there twice")
        elif name not in known:
            problems.append(unknown_key(key, known))
        else:
            values[name] = value
    return values


def unknown_key(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
    return f"unknown key {key!r}" + (f" (is {near[0]!r} meant?)" if near else "")


def _value(name: str, value: Any, action: argparse.Action) -> Any:
    """`value` of a file as the flag itself would have it.

    Raises:
        InputError: it is of another type, or none of the choices.
    """
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return of_kind(name, value, bool)
    if action.nargs in ("+", "*") or isinstance(action.default, list):
        listed = value if isinstance(value, list) else [value]
        return [_one(name, each, action) for each in listed]
    return _one(name, value, action)


def _one(name: str, value: Any, action: argparse.Action) -> Any:
    kind: Any = action.type or str
    if isinstance(kind, type):
        return of_kind(name, value, kind, action.choices)
    try:
        return kind(str(value))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{name}: {error}") from None


def of_kind(name: str, value: Any, kind: Callable[..., Any] | type, choices: Any = None) -> Any:
    """`value` from a file in the type of the flag `name`: str, Path, bool, int or float.

    Raises:
        InputError: it is of another type, or none of the choices.
    """
    if choices is not None and value not in choices:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(map(str, choices))}")
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    assert isinstance(kind, type)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{name} is {value!r}, expected {_KINDS.get(kind, 'a string')}")
    return value
