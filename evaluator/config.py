"""What decides a score: a run's configuration, its key, and in what two runs differ.

Written to `config.json` before work starts. Nothing here knows of answers; `evaluator/results.py` does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataset.files import written_whole
from dataset.types import Style
from sandbox.errors import InputError

CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a score, and in `about` what only describes it (paths, device, times).

    Attributes:
        options: what was asked of the engine, where it is not the default: dtype, longest context, adapter …
        engine: what the model said of itself when it was ready (`Model.engine`): versions, data type, context. {} until
            then, and in results from before it was recorded.
    """

    model: str
    model_sha256: str
    backend: str
    benchmark: str
    problems_sha256: str
    style: Style
    protocol: Mapping[str, Any]
    instructions: Mapping[str, str]
    temperature: float
    top_p: float
    seed: int
    grader: str = ""  # of `grader_version`; "" in results from before it was recorded
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tools(self) -> bool:
        """Whether the model had the sandbox."""
        return self.style != "cot"

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that no other configuration has; the model's name and `about` are left out.

        So is what has its neutral value and was not recorded once: results from then keep their key.
        """
        deciding = {
            name: value
            for name, value in asdict(self).items()
            if name not in ("about", "model") and not (name in _RECORDED_LATER and value == _RECORDED_LATER[name])
        }
        return hashlib.sha256(json.dumps(deciding, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:12]


_RECORDED_LATER = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "options": {}, "engine": {}}


def read_config(folder: Path) -> RunConfig:
    """The configuration of the results in `folder`.

    Raises:
        InputError: there are none, or the file is not ours.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{folder}: no {CONFIG} in it; expected a folder of `python -m evaluator run --out`")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data.pop("key", None)
        return RunConfig(**data)
    except (json.JSONDecodeError, TypeError) as error:
        raise InputError(f"{path}: not a configuration of ours ({error}); give another folder") from None


def write_config(folder: Path, config: RunConfig) -> None:
    """Put `config` in the place of the one in `folder`."""
    with written_whole(folder / CONFIG) as file:
        json.dump({"key": config.key, **asdict(config)}, file, indent=2, ensure_ascii=False)


def refuse_other(folder: Path, old: RunConfig, new: RunConfig) -> None:
    """Raise `InputError` that names the differences, if results of `new` do not belong to those of `old`."""
    if old.key == new.key:
        return
    before, now = asdict(old), asdict(new)
    names = [name for name in before if name not in ("about", "model") and before[name] != now[name]]
    if names == ["grader"]:
        raise InputError(
            f"{folder} was judged by another grader ({old.grader or 'unknown'}, now {new.grader}): "
            f"python -m evaluator regrade {folder}"
        )
    differences = "; ".join(part for name in names for part in _differences(name, before[name], now[name]))
    raise InputError(
        f"{folder} holds results of another configuration ({differences}). Choose another --out, or remove the folder"
    )


def _differences(name: str, before: Any, now: Any) -> list[str]:
    """What differs, field by field of a mapping."""
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return [f"{name} was {_short(before)}, is {_short(now)}"]
    found = []
    for field_name in {**before, **now}:
        one, two = before.get(field_name, _UNSAID), now.get(field_name, _UNSAID)
        if one != two:
            found.append(f"{name}.{field_name} was {_short(one)}, is {_short(two)}")
    return found


_UNSAID = "not given"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


# What decides a model's words; logs and manifests in its folder do not.
_MODEL_FILES = (
    *("config.json", "adapter_config.json", "quant*_config.json", "generation_config.json"),
    *("tokenizer*", "vocab*", "merges.txt", "chat_template*"),
)
_WEIGHTS = ("*.safetensors", "*.bin", "*.model", "*.gguf")
_READ_WHOLE_BYTES = 16 << 20


def fingerprint_model(name: str) -> str:
    """A hash that tells one model folder or file from another; the name itself for a model of the Hub.

    Of larger files only size, beginning and end are read: whole, the weights of a large model take minutes.
    """
    path = Path(name)
    if not path.exists():
        return name
    found = {file for pattern in (*_MODEL_FILES, *_WEIGHTS) for file in path.glob(pattern) if file.is_file()}
    files = [path] if path.is_file() else sorted(found)
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{'' if path.is_file() else file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= _READ_WHOLE_BYTES:
                digest.update(stream.read())
            else:
                digest.update(stream.read(1 << 20))
                stream.seek(-(1 << 20), os.SEEK_END)
                digest.update(stream.read())
    return digest.hexdigest()
