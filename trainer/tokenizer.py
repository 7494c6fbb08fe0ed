"""The tokenizer of a run: the model's own, or a new byte-level BPE learned from the data.

Both end up in `OUT/tokenizer`, chat template included, and everything later reads them from there: the renderer's
processes, the export, and through the export the evaluator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dataset.chat import ChatFormat
from sandbox.errors import InputError

# For models without a template, and for new ones: DeepSeek-Math's own words (arXiv 2402.03300, repository README).
TEMPLATE = (Path(__file__).parent / "configs" / "chat_template.jinja").read_text(encoding="utf-8")
_EOS, _PAD = "<eos>", "<pad>"


def load_tokenizer(model: str, revision: str | None = None) -> Any:
    """The tokenizer in a model folder or on the hub, at `revision` there; one without a chat template gets `TEMPLATE`.

    Raises:
        InputError: there is no tokenizer, or none with an end-of-sequence token.
    """
    folder = Path(model)
    if folder.is_dir() and not (folder / "tokenizer.json").exists() and not (folder / "tokenizer.model").exists():
        raise InputError(
            f"{folder} holds no tokenizer (tokenizer.json or tokenizer.model): "
            "copy the tokenizer files of the model beside its weights"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision or "main")
    except (OSError, ValueError) as error:
        raise InputError(f"no tokenizer can be loaded from {model!r}: {str(error).splitlines()[0]}") from None
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {model!r} has no end-of-sequence token: a model trained with it would never stop; "
            "name one as eos_token in tokenizer_config.json"
        )
    if not tokenizer.chat_template:
        tokenizer.chat_template = TEMPLATE
    ChatFormat(tokenizer)  # refuses a template that does not mark the end of a turn
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """A new byte-level BPE with `vocabulary` tokens, special ones included.

    Every digit is a token of its own: a small model then copies numbers it never saw. Merges stay inside words, so
    that no token holds parts of two.

    Raises:
        InputError: `vocabulary` has no room for the 256 bytes and the special tokens.
    """
    special = [_PAD, _EOS]
    if vocabulary < 256 + len(special):
        raise InputError(f"a vocabulary of {vocabulary} has no room for 256 bytes and {len(special)} special tokens")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=_EOS, pad_token=_PAD, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def fingerprint(tokenizer: Any) -> str:
    """What tokens and masks depend on, as SHA-256: vocabulary, merges, rules, chat template, special tokens."""
    digest = hashlib.sha256()
    for part in (tokenizer.backend_tokenizer.to_str(), str(tokenizer.chat_template), str(tokenizer.special_tokens_map)):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()
