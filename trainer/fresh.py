"""A new, small model from a file: `--init demo`, or a TOML or JSON file of the same shape.

architecture = "llama"        transformers' name (model_type) of a causal language model
[tokenizer]
vocabulary = 768              tokens of the byte-level BPE that is learned from the data
[model]
hidden_size = 192             and whatever else transformers' configuration of that architecture takes
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoConfig, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sandbox.errors import InputError
from trainer.tokenizer import fingerprint

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
    if value["architecture"] not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        problems.append(f"architecture is {value['architecture']!r}: transformers has no causal model of this name")
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
    check_tokenizer_loads(config, tokenizer)
    return config


def check_tokenizer_loads(config: Any, tokenizer: Any) -> None:
    """Refuse an architecture with which transformers and vLLM would load another tokenizer than the one that is saved.

    Raises:
        InputError: they make one of the architecture's own kind of it, with other tokens.
    """
    with TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        loaded = AutoTokenizer.from_pretrained(folder)
    if fingerprint(loaded) != fingerprint(tokenizer):
        raise InputError(
            f"--init: with {config.model_type}, transformers loads a new tokenizer as {type(loaded).__name__}, of "
            f"{len(loaded)} tokens, not {len(tokenizer)}: name another architecture, llama or qwen3 say"
        )
