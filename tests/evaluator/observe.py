"""Everything the tests want to know of a backend, from one start of it. A process of its own for vLLM:

python -m tests.evaluator.observe BACKEND MODEL_FOLDER [URL…]      prints one JSON object
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dataset.transcript import prompt
from dataset.types import Problem
from evaluator.models import BACKENDS
from evaluator.models.types import Generation, Model, ModelOptions, Sampling
from evaluator.protocols import PROTOCOLS
from evaluator.solve import solve
from sandbox import AsyncSandbox

_PLAIN = ModelOptions()
DEFAULT = replace(PROTOCOLS["default"], new_tokens=200)


@dataclass(frozen=True, slots=True)
class Call:
    """What a model was given, and what it said."""

    tokens: list[int]
    said: Generation


class Recording:
    """A model that remembers its calls, by conversation."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.chat = model.chat
        self.context_tokens = model.context_tokens
        self.cache_tokens = model.cache_tokens
        self.engine, self.about = model.engine, model.about
        self.calls: dict[str, list[Call]] = {}

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        before = list(tokens)
        said = await self._model.generate(key, tokens, max_tokens=max_tokens, tools=tools, sampling=sampling)
        self.calls.setdefault(key, []).append(Call(before, said))
        return said

    async def close(self) -> None:
        await self._model.close()


async def observe(
    backend: str, folder: str, problems: Sequence[Problem], options: ModelOptions = _PLAIN
) -> dict[str, Any]:
    """What the backend does with `problems`, which its model has learned, and at the edges of its promise."""
    model = BACKENDS[backend]()(folder, options)
    try:
        async with AsyncSandbox() as sandbox:
            recording = Recording(model)
            rules: dict[str, Any] = {"style": "tir", "sandbox": sandbox, "protocol": DEFAULT, "sampling": Sampling()}
            solved = await asyncio.gather(*(solve(p, sample=0, model=recording, **rules) for p in problems))
        question = prompt(problems[0].question, "tir", problems[0].language)
        asked = model.chat.prompt([{"role": "user", "content": question}])

        async def crowd() -> list[str]:
            """Forty seeded answers at once, to more tokens than a step of an engine takes, none of them cached."""
            long = asked[1:] * (400 // len(asked))
            others = [
                say([*asked[:1], *long[seed:], *long[:seed]], sampling=Sampling(2.0, 1.0, seed), max_tokens=10)
                for seed in range(3, 40)
            ]
            said = [say(sampling=Sampling(2.0, 1.0, seed), max_tokens=30) for seed in range(3)]
            return [one["text"] for one in await asyncio.gather(*said, *others)]

        async def say(tokens: list[int] = asked, **changes: Any) -> dict[str, Any]:
            wanted = {"max_tokens": 100, "tools": True, "sampling": Sampling()} | changes
            said = await asyncio.wait_for(model.generate("say#0", tokens, **wanted), 200)
            return asdict(said) | {"tokens": list(said.tokens), "piece": model.chat.piece(said.text)}

        drawn = [await say(sampling=Sampling(2.0, 1.0, seed), max_tokens=30) for seed in range(3)]
        return {
            "about": {**model.engine, **model.about},
            "context_tokens": model.context_tokens,
            "solved": [asdict(done) for done in solved],
            "calls": {key: [asdict(call) for call in calls] for key, calls in recording.calls.items()},
            "fence": await say(),
            "no_tools": await say(tools=False),
            "budgets": {str(budget): await say(max_tokens=budget) for budget in (1, 5, 9)},
            "end": await say(recording.calls[f"{problems[1].id}#0"][-1].tokens),
            "seeds": [one["text"] for one in drawn],
            "drawn": [[asked, one["tokens"]] for one in drawn],
            "crowd": await crowd(),
        }
    finally:
        await model.close()


if __name__ == "__main__":
    raw = json.loads(sys.stdin.read())
    options = ModelOptions(urls=sys.argv[3:])
    print(json.dumps(asyncio.run(observe(sys.argv[1], sys.argv[2], [Problem(**row) for row in raw], options))))
