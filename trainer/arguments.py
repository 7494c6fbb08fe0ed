"""From a command line, and the file that `--config` names, to the settings of a run.

A file is TOML with the flags' names, or the `run.json` of another run, which this one then repeats:

    model = "deepseek-ai/deepseek-math-7b-base"
    data = "runs/mix"                # paths are meant from the current folder, as on the command line
    learning-rate = 1e-5             # or learning_rate
    compile = true

A flag on the command line wins over the file.
"""

from __future__ import annotations

import argparse
import json
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dataset.files import MANIFEST, sha256
from sandbox.errors import InputError
from sandbox.flags import Parser, of_kind, program, unknown_key, version
from trainer import config as recipe
from trainer.config import TrainConfig

S = TypeVar("S")
_HASHES = ("data_sha256", "problems_sha256", "exam_sha256")  # what a run.json says beside its settings
# first setting of each group in the help
_GROUPS = {
    "data": "what is trained",
    "steps": "how long, and on what",
    "learning_rate": "the optimiser",
    "precision": "how it is computed",
    "checkpoint_every": "while it runs",
}
_EITHER = (("model", "init"), ("steps", "epochs"))  # one given on the command line sets aside the other in the file


def parse_config(argv: Sequence[str]) -> TrainConfig:
    """The settings on a command line.

    Raises:
        InputError: unknown or missing flags or keys, values out of range; all that are out of range are named at once.
    """
    given = vars(parser().parse_args(argv))
    file: Path | None = given.pop("config", None)
    inside = {} if file is None else read_config(file, TrainConfig)
    wanted = inside.pop("data_sha256", None)
    for pair in _EITHER:
        for group, where in ((given, "on the command line"), (inside, f"in {file}")):
            if pair == ("steps", "epochs") and set(pair) <= set(group):
                raise InputError(f"both --steps and --epochs are given {where}: give one")
        if set(pair) & set(given):
            inside = {name: value for name, value in inside.items() if name not in pair}
    whole = {**inside, **given}
    check_required(TrainConfig, whole, "python -m trainer")
    config = TrainConfig(**whole)
    if wanted is not None and "data" not in given and (config.data / MANIFEST).is_file():
        found = sha256(config.data / MANIFEST)
        if found != wanted:
            raise InputError(
                f"{file} is of a run that learned other data than {config.data} holds now (its manifest had SHA-256 "
                f"{wanted[:12]}…, now {found[:12]}…): make the mixture again, or name the data by --data"
            )
    return config


def parser() -> Parser:
    """The parser: a flag for each setting of `TrainConfig`."""
    whole = Parser(
        prog=program("trainer"),
        description="Turn a mixture into a trained model. The defaults are the DeepSeekMath-Instruct recipe.",
        usage="%(prog)s --data DATA --out OUT (--model MODEL | --init NAME) [FLAG …]",
        epilog=(recipe.__doc__ or "").split("\n\n")[1],
        argument_default=argparse.SUPPRESS,
        examples="""
            --model deepseek-ai/deepseek-math-7b-base --data runs/mix --epochs 3 --out runs/sft
            --config recipe.toml --steps 20
            --config runs/sft/run.json --out runs/sft-again
        """,
    )
    whole.add_argument("--version", action="version", version=version())
    add_flags(whole, TrainConfig, _GROUPS)
    return whole


def settings_of(settings: type[S], given: Mapping[str, Any], prog: str) -> S:
    """The settings of the dataclass `settings` from flags that `add_flags` made, and the file that --config names.

    Raises:
        InputError: missing flags, unknown keys, values out of range.
    """
    flags = dict(given)
    file: Path | None = flags.pop("config", None)
    whole = {**({} if file is None else read_config(file, settings)), **flags}
    check_required(settings, whole, prog)
    return settings(**whole)


def check_required(settings: type[Any], given: Mapping[str, Any], prog: str) -> None:
    """Raise `InputError` if a setting without a default is not given."""
    required = [entry.name for entry in fields(settings) if entry.default is MISSING]
    if missing := [f"--{name.replace('_', '-')}" for name in required if name not in given]:
        raise InputError(f"the following arguments are required: {', '.join(missing)}; see {prog} --help")


def add_flags(parser: Parser, settings: type[Any], groups: Mapping[str, str]) -> None:
    """A flag for each field of the dataclass `settings`, whose annotations say what it means; and --config.

    `groups` has the headings in the help, by the first setting below each.
    """
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML with the flags' names, or another run's run.json; flags win"
    )
    add = parser.add_argument
    for entry in fields(settings):
        if entry.name in groups:
            add = parser.add_argument_group(groups[entry.name]).add_argument
        name = "--" + entry.name.replace("_", "-")
        kind, choices, text = _kind(settings, entry.name)
        if kind is bool:
            shown = f"{text} (default {'yes' if entry.default else 'no'})"
            add(name, action=argparse.BooleanOptionalAction, help=shown)
            continue
        add(
            name,
            type=kind,
            choices=choices,
            help=text if entry.default in (MISSING, None) else f"{text} (default {entry.default})",
            metavar=None if choices else entry.name.upper(),
        )


def _kind(settings: type[Any], name: str) -> tuple[Any, tuple[str, ...] | None, str]:
    """(type, choices, what it means) of one setting."""
    hint, text = get_args(_hints(settings)[name])
    if get_origin(hint) in (Union, types.UnionType):
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return str, get_args(hint), text
    return hint, None, text


def _hints(settings: type[Any]) -> Mapping[str, Any]:
    return get_type_hints(settings, include_extras=True)


def read_config(file: Path, settings: type[Any]) -> dict[str, Any]:
    """The settings in a TOML file or a `run.json`, under the names of the dataclass `settings`; null is left out.

    Raises:
        InputError: no such file, not TOML or JSON, unknown keys, or values of another type; all are named at once.
    """
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"--config {file}: no such file") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config {file}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"--config {file}: expected settings by name, found a {type(found).__name__}")
    values: dict[str, Any] = {}
    problems = []
    for key, value in found.items():
        name = key.replace("-", "_")
        if value is None:
            continue
        if name in values:
            problems.append(f"{key!r} is there twice")
        elif name in _HASHES and isinstance(value, str):
            values.update({name: value} if settings is TrainConfig else {})
        elif name not in _hints(settings):
            problems.append(unknown_key(key, _hints(settings)))
        else:
            try:
                kind, choices, _ = _kind(settings, name)
                values[name] = of_kind(name, value, kind, choices)
            except InputError as error:
                problems.append(str(error))
    if problems:
        raise InputError(f"--config {file}: {'; '.join(problems)}")
    return values
