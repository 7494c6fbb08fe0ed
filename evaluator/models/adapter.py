"""A LoRA adapter as PEFT writes it: what it is, and whether it fits a model, told from the files' heads alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.errors import InputError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_rank(adapter: Path, model: str) -> int:
    """The rank of the LoRA adapter in the folder `adapter`, which fits `model` as far as its files are here.

    Raises:
        InputError: it is no LoRA adapter, or one of another model.
    """
    for name in (CONFIG, WEIGHTS):
        if not (adapter / name).is_file():
            raise InputError(f"--adapter {adapter}: no {name} in it; expected a LoRA adapter as PEFT saves it")
    try:
        config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
        kind, base = config["peft_type"], config.get("base_model_name_or_path") or "a model that it does not name"
        rank = int(config["r"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--adapter {adapter}: {CONFIG} is not of a LoRA adapter ({error!r})") from None
    if kind != "LORA":
        raise InputError(f"--adapter {adapter}: it is of the kind {kind}; only LORA can be put on a model here")
    theirs = tensor_shapes(adapter / WEIGHTS)
    ours: dict[str, tuple[int, ...]] = {}
    for file in sorted(Path(model).glob("*.safetensors")):
        ours |= tensor_shapes(file)
    for name, shape in theirs.items() if ours else ():
        part, lora, which = name.removeprefix("base_model.model.").partition(".lora_")
        weight = ours.get(f"{part}.weight")
        side = 1 if which.startswith("A") else 0  # A is (rank, in), B is (out, rank); the weight is (out, in)
        if lora and (weight is None or len(weight) != 2 or weight[side] != shape[side]):
            found = "has no such part" if weight is None else f"has {list(weight)} there"
            raise InputError(
                f"--adapter {adapter} is of another model: {name} is {list(shape)}, {model} {found}; "
                f"it was trained on {base}"
            )
    return rank


def tensor_shapes(file: Path) -> Mapping[str, tuple[int, ...]]:
    """The shapes of the tensors in a safetensors file, by name.

    Raises:
        InputError: it is no such file.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            head: dict[str, Any] = json.loads(stream.read(min(length, 100 << 20)))
        return {name: tuple(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__"}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a safetensors file ({error}); copy it again") from None
