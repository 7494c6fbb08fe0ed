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
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dataset.files import MANIFEST, sha256
from sandbox.errors import InputError
from sandbox.flags import Parser, of_kind, program, unknown_key, version
from trainer import config as settings
from trainer.config import TrainConfig

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
    inside = {} if file is None else read_config(file)
    wanted = inside.pop("data_sha256", None)
    for pair in _EITHER:
        for group, where in ((given, "on the command line"), (inside, f"in {file}")):
            if pair == ("steps", "epochs") and set(pair) <= set(group):
                raise InputError(f"both --steps and --epochs are given {where}: give one")
        if set(pair) & set(given):
            inside = {name: value for name, value in inside.items() if name not in pair}
    whole = {**inside, **given}
    required = [entry.name for entry in fields(TrainConfig) if entry.default is MISSING]
    if missing := [f"--{name}" for name in required if name not in whole]:
        raise InputError(f"the following arguments are required: {', '.join(missing)}; see python -m trainer --help")
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
        epilog=(settings.__doc__ or "").split("\n\n")[1],
        argument_default=argparse.SUPPRESS,
        examples="""
            --model deepseek-ai/deepseek-math-7b-base --data runs/mix --epochs 3 --out runs/sft
            --config recipe.toml --steps 20
            --config runs/sft/run.json --out runs/sft-again
        """,
    )
    whole.add_argument("--version", action="version", version=version())
    whole.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML with the flags' names, or another run's run.json; flags win"
    )
    add = whole.add_argument
    for entry in fields(TrainConfig):
        if entry.name in _GROUPS:
            add = whole.add_argument_group(_GROUPS[entry.name]).add_argument
        name = "--" + entry.name.replace("_", "-")
        kind, choices, text = _kind(entry.name)
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
    return whole


def _kind(name: str) -> tuple[Any, tuple[str, ...] | None, str]:
    """(type, choices, what it means) of one setting."""
    hint, text = get_args(_HINTS[name])
    if get_origin(hint) in (Union, types.UnionType):
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return str, get_args(hint), text
    return hint, None, text


_HINTS: Mapping[str, Any] = get_type_hints(TrainConfig, include_extras=True)


def read_config(file: Path) -> dict[str, Any]:
    """The settings in a TOML file or a `run.json`, under the names of `TrainConfig`; null is left out.

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
        elif name == "data_sha256" and isinstance(value, str):
            values[name] = value
        elif name not in _HINTS:
            problems.append(unknown_key(key, _HINTS))
        else:
            try:
                kind, choices, _ = _kind(name)
                values[name] = of_kind(name, value, kind, choices)
            except InputError as error:
                problems.append(str(error))
    if problems:
        raise InputError(f"--config {file}: {'; '.join(problems)}")
    return values
