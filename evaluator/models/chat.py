"""The chat of a model that is opened for an exam: its tokenizer's template, or the user's, and where its turns end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset.chat import ChatFormat
from evaluator.models.types import ModelOptions
from sandbox.errors import InputError

GENERATION_CONFIG = "generation_config.json"


def open_chat(tokenizer: Any, model: str, options: ModelOptions) -> ChatFormat:
    """How `tokenizer` asks the questions of an exam; the folder or Hub name `model` has its generation_config.json.

    Raises:
        InputError: see `ChatFormat.for_exam`.
    """
    if options.chat_template is not None:
        tokenizer.chat_template = options.chat_template
    own = generation_config(model, options.revision) or {}
    ends = own.get("eos_token_id")
    return ChatFormat.for_exam(
        tokenizer,
        system=options.system,
        options=options.template_options,
        ends=[ends] if isinstance(ends, int) else ends or (),
        template=options.asks_by_chat,
    )


def template_fact(chat: ChatFormat, options: ModelOptions) -> str | None:
    """Twelve hexadecimal digits of the template that writes the prompts, None where none does."""
    text = json.dumps(chat.tokenizer.chat_template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12] if options.asks_by_chat else None


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
