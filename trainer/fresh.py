"""A new, small model from a file: `--init demo`, or a TOML or JSON file of the same shape.

architecture = "llama"        one of trainer.model.ARCHITECTURES
[tokenizer]
vocabulary = 768              tokens of the byte-level BPE that is learned from the data
[model]
hidden_size = 192             and whatever else transformers' configuration of that architecture takes
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from sandbox.errors import InputError
from trainer.model import ARCHITECTURES

_BUILT_IN = Path(__file__).parent / "configs"


def read_init(name: str) -> dict[str, Any]:
    """The file that `--init` names, checked.

    Raises:
        InputError: no such file or name, not TOML or JSON, a part missing or unknown.
    """
    path = Path(name) if Path(name).suffix else _BUILT_IN / f"{name}.toml"
    if not path.is_file():
        built_in = ", ".join(sorted(p.stem for p in _BUILT_IN.glob("*.toml")))
        raise InputError(f"--init {name}: no such file; expected a TOML or JSON file, or one of: {built_in}")
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    problems = []
    if not isinstance(value, dict) or set(value) != {"architecture", "tokenizer", "model"}:
        raise InputError(f"{path}: expected exactly architecture, [tokenizer] and [model]")
    if value["architecture"] not in ARCHITECTURES:
        problems.append(f"architecture is {value['architecture']!r}, expected one of {', '.join(ARCHITECTURES)}")
    if not isinstance(value["model"], dict):
        problems.append("[model] is not a table")
    vocabulary = value["tokenizer"].get("vocabulary") if isinstance(value["tokenizer"], dict) else None
    if not isinstance(vocabulary, int) or isinstance(vocabulary, bool) or set(value["tokenizer"]) != {"vocabulary"}:
        problems.append("[tokenizer] must hold one whole number, vocabulary")
    if problems:
        raise InputError(f"{path}: " + "; ".join(problems))
    return value


def new_config(init: dict[str, Any], tokenizer: Any) -> Any:
    """The configuration of a new model for `tokenizer`.

    Raises:
        InputError: the architecture does not take these values.
    """
    try:
        config = AutoConfig.for_model(
            init["architecture"],
            **init["model"],
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"--init: {init['architecture']} does not take these values: {error}") from None
    # A name it does not know would be kept and ignored.
    unknown = sorted(set(init["model"]) - set(type(config)().to_dict()) - set(config.attribute_map))
    if unknown:
        raise InputError(f"--init: [model] names what {init['architecture']} does not know: {', '.join(unknown)}")
    return config
