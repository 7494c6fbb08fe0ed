"""What the flags ask of the model: how it samples, how it is opened, and the part of that which goes into the key."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluator.arguments import model_urls
from evaluator.models.types import ModelOptions, Sampling
from sandbox.errors import InputError

GENERATION_CONFIG = "generation_config.json"


def sampling(arguments: argparse.Namespace) -> Sampling:
    """As the flags say; what they leave out is neutral, or with --model-sampling the model's own.

    Raises:
        InputError: a number out of range, several samples of greedy decoding, or a model without its own sampling.
    """
    neutral = Sampling(temperature=0.7 if arguments.command == "sample" else 0.0)
    own = _own_sampling(arguments) if arguments.model_sampling else {}
    values = {name: getattr(neutral, name) for name in _RANGES} | own
    values |= {name: getattr(arguments, name) for name in _RANGES if getattr(arguments, name) is not None}
    problems = [
        f"--{name.replace('_', '-')} {values[name]}: expected {expected}"
        for name, (allowed, expected) in _RANGES.items()
        if not allowed(values[name])
    ]
    if arguments.samples > 1 and values["temperature"] == 0:
        problems.append(f"--samples {arguments.samples} at temperature 0 are all the same: add --temperature")
    if problems:
        raise InputError("; ".join(problems))
    return Sampling(seed=arguments.seed, **values)


_RANGES: dict[str, Any] = {
    "temperature": (lambda value: 0 <= value <= 10, "0 (greedy) to 10"),
    "top_p": (lambda value: 0 < value <= 1, "more than 0 and at most 1"),
    "top_k": (lambda value: value >= 0, "0 (all tokens) or more"),
    "min_p": (lambda value: 0 <= value <= 1, "0 to 1"),
    "repetition_penalty": (lambda value: 0 < value <= 10, "more than 0 (1: none) and at most 10"),
}


def _own_sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the model's makers put into its generation_config.json; not sampling (`do_sample`) is temperature 0."""
    said = generation_config(arguments.tokenizer or arguments.model, arguments.revision)
    if said is None:
        where = arguments.tokenizer or arguments.model
        raise InputError(f"--model-sampling: {where} has no {GENERATION_CONFIG}; say --temperature, --top-p … instead")
    own = {name: said[name] for name in _RANGES if isinstance(said.get(name), int | float)}
    return {**own, "temperature": own.get("temperature", 1.0) if said.get("do_sample") else 0.0}


def generation_config(model: str, revision: str | None) -> Mapping[str, Any] | None:
    """The generation_config.json in a model folder or of a model of the Hub; None where there is none.

    Raises:
        InputError: it is no JSON object.
    """
    path = Path(model) / GENERATION_CONFIG
    if not Path(model).exists():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            path = Path(hf_hub_download(model, GENERATION_CONFIG, revision=revision))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
            return None
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); copy it from the model again") from None
    if not isinstance(said, dict):
        raise InputError(f"{path}: expected an object, found {type(said).__name__}; copy it from the model again")
    return said


def model_options(arguments: argparse.Namespace) -> ModelOptions:
    """How the model is to be opened."""
    return ModelOptions(
        context_tokens=arguments.context_tokens,
        dtype=arguments.dtype,
        revision=arguments.revision,
        urls=model_urls(arguments),
        tokenizer=arguments.tokenizer,
        token=os.environ.get("OPENAI_API_KEY"),
        patience_seconds=arguments.patience,
    )


def deciding(options: ModelOptions) -> dict[str, Any]:
    """What of `options` can change a score, where it was asked for."""
    found = {"context_tokens": options.context_tokens, "dtype": options.dtype, "revision": options.revision}
    return {name: value for name, value in found.items() if value}
