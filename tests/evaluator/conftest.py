"""One event loop with one real sandbox for all tests here, a tiny real model, and the public data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sandbox import AsyncSandbox

T = TypeVar("T")
OWN_SAMPLING = {
    "do_sample": True,
    "temperature": 1.5,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.3,
    "repetition_penalty": 10.0,  # 1.8 does not change a word: the tiny model is too sure of its own
}
DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="session")
def run(runner: asyncio.Runner) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine on the one event loop that the sandbox lives on."""
    return runner.run


@pytest.fixture(scope="session")
def sandbox(runner: asyncio.Runner) -> Iterator[AsyncSandbox]:
    async def start() -> AsyncSandbox:
        box = AsyncSandbox(max_sessions=64)
        await box.start()
        return box

    box = runner.run(start())
    yield box
    runner.run(box.close())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder in Hugging Face layout: see `tests.evaluator.tiny`.

    Its makers want to sample with a heavy penalty. Nobody asks for that here, so no backend may do it.
    """
    from tests.evaluator.tiny import make_tiny_model

    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_model(folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | OWN_SAMPLING))
    return folder
