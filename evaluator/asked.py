"""What the flags ask of the model: how it samples, how it is opened, and the part of that which goes into the key."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from evaluator.arguments import model_urls
from evaluator.config import fingerprint_model
from evaluator.models.chat import GENERATION_CONFIG, generation_config
from evaluator.models.types import ModelOptions, Sampling
from evaluator.protocols import Protocol
from sandbox.errors import InputError


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


def model_options(arguments: argparse.Namespace, protocol: Protocol) -> ModelOptions:
    """How the model is to be opened for an exam by the rules `protocol`.

    Raises:
        InputError: a flag about the chat where the protocol writes the prompt itself, or a file that cannot be read.
    """
    chat = {"--system": arguments.system, "--chat-template": arguments.chat_template}
    chat["--template-option"] = arguments.template_option
    given = [flag for flag, value in chat.items() if value]
    if given and not protocol.asks_by_chat:
        raise InputError(f"--protocol {protocol.name} writes the whole prompt itself: leave out {', '.join(given)}")
    return ModelOptions(
        asks_by_chat=protocol.asks_by_chat,
        system=arguments.system,
        chat_template=_template(arguments.chat_template),
        template_options=named_values("--template-option", ",".join(arguments.template_option)),
        context_tokens=arguments.context_tokens,
        dtype=arguments.dtype,
        revision=arguments.revision,
        engine=named_values("--engine", arguments.engine or ""),
        replicas=arguments.replicas,
        adapter=arguments.adapter,
        urls=model_urls(arguments),
        tokenizer=arguments.tokenizer,
        token=os.environ.get("OPENAI_API_KEY"),
        patience_seconds=arguments.patience,
    )


def _template(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--chat-template {path}: {error}; expected a file with a Jinja template") from None


def named_values(flag: str, text: str) -> dict[str, Any]:
    """`text` of the form name=value,name=value; numbers, true, false, null and "quoted" text are read as JSON.

    A comma inside brackets or quotes parts nothing: compilation_config={"level": 0, "mode": 1}.

    Raises:
        InputError: a part without a name or a value, or a name given twice.
    """
    found: dict[str, Any] = {}
    for part in re.findall(r"(?:\{.*?\}|\[.*?\]|\"[^\"]*\"|[^,])+", text):
        name, equals, value = part.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise InputError(f"{flag} {part}: expected name=value, such as enable_thinking=false")
        if name in found:
            raise InputError(f"{flag} {text}: {name} is given twice")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = {"True": True, "False": False, "None": None}.get(value.strip(), value.strip())
    return found


# Options of vLLM that decide how fast and on how much memory it works; they change a text by rounding at most.
SPEED_ONLY = (
    *("gpu_memory_utilization", "kv_cache_memory_bytes", "swap_space", "cpu_offload_gb", "max_num_seqs"),
    *("max_num_batched_tokens", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
    *("distributed_executor_backend", "enforce_eager", "block_size", "enable_prefix_caching", "enable_chunked_prefill"),
    *("disable_custom_all_reduce", "async_scheduling", "disable_log_stats", "load_format", "download_dir"),
)


def deciding(options: ModelOptions) -> dict[str, Any]:
    """What of `options` can change a score, where it was asked for."""
    template = options.chat_template and hashlib.sha256(options.chat_template.encode()).hexdigest()[:12]
    found = {
        "context_tokens": options.context_tokens,
        "dtype": options.dtype,
        "revision": options.revision,
        "system": options.system,
        "chat_template": template,
        "template_options": dict(options.template_options),
        "engine": {name: value for name, value in options.engine.items() if name not in SPEED_ONLY},
        "adapter": options.adapter and fingerprint_model(str(options.adapter)),
    }
    return {name: value for name, value in found.items() if value}
