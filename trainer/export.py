"""The trained model as a folder that transformers and vLLM load: written aside, checked, then moved into place.

One token ends a turn in tokenizer, `config.json` and `generation_config.json`: servers stop at whichever they read,
and a model whose files disagree talks on for ever.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from dataset.chat import ChatFormat
from trainer.lora import merged
from trainer.model import Learner
from trainer.world import World


def gather(learner: Learner) -> dict[str, Any]:
    """All that the learner holds, adapters apart, on the CPU of the first process; empty in the others."""
    if learner.remainders is not None:
        return dict(learner.remainders.state_dict())
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(learner.model, options=options)


def gather_weights(learner: Learner, dtype: torch.dtype) -> dict[str, Tensor]:
    """The whole model on the CPU of the first process (empty in the others), in `dtype`; tied names appear once."""
    whole = gather(learner)
    if learner.lora_scale is not None:
        whole = merged(whole, learner.lora_scale)
    if learner.model.config.tie_word_embeddings:
        whole.pop("lm_head.weight", None)  # saved twice, it would come back as two matrices
    return {name: value.to(dtype) for name, value in whole.items() if isinstance(value, Tensor)}


def export(out: Path, learner: Learner, tokenizer: Any, world: World, dtype: torch.dtype) -> None:
    """Write the model into `out`, beside whatever is there; called in every process.

    Raises:
        RuntimeError: what was written does not read back equal.
    """
    weights = gather_weights(learner, dtype)
    if not world.leads:
        return
    aside = out / "export.partial"
    shutil.rmtree(aside, ignore_errors=True)
    write_model(aside, learner.model.config, weights, tokenizer)
    check_model(aside, weights, tokenizer)
    for path in sorted(aside.iterdir()):
        os.replace(path, out / path.name)
    aside.rmdir()


def write_model(folder: Path, config: Any, weights: dict[str, Tensor], tokenizer: Any) -> None:
    """Weights (safetensors), config.json, generation_config.json and the tokenizer with its chat template."""
    dtype = next(iter(weights.values())).dtype
    end = ChatFormat(tokenizer).end_of_turn
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(config, dtype=dtype)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": end, "pad_token_id": tokenizer.pad_token_id}
    for name, value in ids.items():
        setattr(shell.config, name, value)
    shell.generation_config = GenerationConfig(**ids)
    shell.save_pretrained(folder, state_dict=dict(weights))  # a copy: it empties the one it is given
    tokenizer.save_pretrained(folder)
    # transformers writes the format of the model object, whatever that of the weights was.
    path = folder / "config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    written["dtype"] = str(dtype).removeprefix("torch.")
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_model(folder: Path, weights: dict[str, Tensor], tokenizer: Any) -> None:
    """Read the folder back and compare: every tensor, the end of turn in all files, the number format.

    Raises:
        RuntimeError: something differs; the message names it.
    """
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a mapping
    wrong = sorted(set(found) ^ set(weights)) or [n for n, v in weights.items() if not torch.equal(found[n], v)]
    end = ChatFormat(tokenizer).end_of_turn
    ends = {
        "tokenizer": AutoTokenizer.from_pretrained(folder).eos_token_id,
        "config.json": AutoConfig.from_pretrained(folder).eos_token_id,
        "generation_config.json": GenerationConfig.from_pretrained(folder).eos_token_id,
    }
    wrong += [f"end of turn {value} in {name}, not {end}" for name, value in ends.items() if value != end]
    dtype = next(iter(weights.values())).dtype
    if AutoConfig.from_pretrained(folder).dtype != dtype:
        wrong.append(f"config.json does not say {dtype}")
    if wrong:
        raise RuntimeError(f"the export in {folder} does not read back as it was written: {', '.join(wrong[:5])}")
