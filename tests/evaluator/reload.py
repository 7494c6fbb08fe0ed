"""Run by `test_engines.py`: what an engine says before and after it took other weights, and what a fresh one says."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from evaluator.models import BACKENDS
from evaluator.models.types import Model, ModelError, ModelOptions, Sampling


async def main(backend: str, model: Path, folder: Path) -> None:
    weights = load_file(model / "model.safetensors")
    torch.manual_seed(0)
    others = {name: value + 0.1 * torch.randn_like(value) for name, value in weights.items()}
    shutil.copytree(model, folder / "whole")
    for name, values in (("whole", others), ("alone", others), ("wrong", {"no.such.weight": torch.zeros(2)})):
        (folder / name).mkdir(exist_ok=True)
        save_file(values, folder / name / "model.safetensors", metadata={"format": "pt"})

    async def say(engine: Model) -> list[list[int]]:
        found = []
        for question in ("What is 3 + 4?", "How many eggs are two dozen?"):
            tokens = engine.chat.prompt([{"role": "user", "content": question}])
            said = await engine.generate(question, tokens, max_tokens=30, tools=True, sampling=Sampling())
            found.append(list(said.tokens))
        return found

    engine = BACKENDS[backend]()(str(model), ModelOptions())
    before = await say(engine)
    await engine.take_weights(folder / "alone")  # type: ignore[attr-defined]
    after = await say(engine)
    refused = ""
    try:
        await engine.take_weights(folder / "wrong")  # type: ignore[attr-defined]
    except ModelError as error:
        refused = str(error)
    await engine.close()
    fresh = BACKENDS[backend]()(str(folder / "whole"), ModelOptions())
    print(json.dumps([before, after, await say(fresh), refused]))
    await fresh.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
