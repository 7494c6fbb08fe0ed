"""Several engines with one model as one: a conversation stays where it began, a new one goes where the fewest are.

One that dies is asked no more, and what it was writing another writes again; with the last one the model has died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from evaluator.models.types import Generation, Model, ModelDied, Sampling, Teachable


class Replicas:
    """Engines that hold the same model; see `Model`. What they say of themselves is the first one's."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models
        self._running = [0] * len(models)
        self._dead: set[int] = set()
        self._homes: dict[str, int] = {}  # conversations that may go on, by their key: their beginning is cached there
        self.chat = models[0].chat
        self.context_tokens = models[0].context_tokens
        self.cache_tokens = sum(model.cache_tokens for model in models)
        self.engine = models[0].engine
        self.about: Mapping[str, Any] = {**models[0].about, "replicas": len(models)}

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        """See `Model.generate`."""
        while True:
            home = self._home(key)
            self._running[home] += 1
            try:
                said = await self._models[home].generate(
                    key, tokens, max_tokens=max_tokens, tools=tools, sampling=sampling
                )
            except ModelDied:
                self._dead.add(home)
                self._homes = {key: place for key, place in self._homes.items() if place != home}
                if len(self._dead) == len(self._models):
                    raise
                continue
            finally:
                self._running[home] -= 1
            if said.stop == "output":
                self._homes[key] = home
            return said

    def _home(self, key: str) -> int:
        """Where the conversation goes on: where its beginning is cached, else where the fewest are."""
        if (home := self._homes.pop(key, None)) is not None:
            return home
        # Conversations whose program runs count, too: they come back.
        kept = [0] * len(self._models)
        for place in self._homes.values():
            kept[place] += 1
        living = [place for place in range(len(self._models)) if place not in self._dead]
        return min(living, key=lambda place: (self._running[place] + kept[place], place))

    async def take_weights(self, folder: Path) -> None:
        """See `Teachable.take_weights`."""
        for place, model in enumerate(self._models):
            if place not in self._dead:
                await cast(Teachable, model).take_weights(folder)

    async def close(self) -> None:
        """See `Model.close`."""
        for model in self._models:
            await model.close()
