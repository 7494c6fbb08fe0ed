"""Engines on a Ray cluster, an actor each, behind the same promise as one here.

The loop of the solutions, the sandbox and the results stay with the driver; an actor holds an engine, which batches
whatever it is asked. Each node has this package and the model at the same place. An engine that dies, with its node or
alone, costs the stretches that it was writing: the others write them again, from the same tokens and the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from dataset.chat import ChatFormat
from dataset.cluster import check_node, joined, this_node
from evaluator.models import BACKENDS, check_model
from evaluator.models.replicas import Replicas
from evaluator.models.types import Generation, Model, ModelDied, ModelOptions, Sampling
from sandbox.errors import InputError

_PLACE_SECONDS = 600.0  # until every actor has a node; an autoscaler may have to start some
_REQUESTS = 10_000  # of one engine at a time; how many there are is the driver's to say


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a model says of itself; see `Model`."""

    chat: ChatFormat
    context_tokens: int
    cache_tokens: int
    engine: Mapping[str, Any]
    about: Mapping[str, Any]


class _Engine:
    """The actor. What it raises reaches the driver as the cause of Ray's own error."""

    async def where(self) -> Any:
        return this_node()

    async def open(self, backend: str, name: str, options: ModelOptions) -> _Facts:
        check_model(name, backend, options)
        self._model: Model = BACKENDS[backend]()(name, options)
        model = self._model
        return _Facts(model.chat, model.context_tokens, model.cache_tokens, model.engine, model.about)

    async def generate(self, key: str, tokens: Sequence[int], max_tokens: int, tools: bool, sampling: Sampling) -> Any:
        return await self._model.generate(key, tokens, max_tokens=max_tokens, tools=tools, sampling=sampling)


class RayEngine:
    """One engine on the cluster; see `Model`."""

    def __init__(self, actor: Any, node: str, facts: _Facts) -> None:
        self._actor, self._node = actor, node
        self.chat, self.context_tokens, self.cache_tokens = facts.chat, facts.context_tokens, facts.cache_tokens
        self.engine = facts.engine
        self.about = facts.about

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        """See `Model.generate`."""
        from ray.exceptions import RayError, RayTaskError

        try:
            said = await self._actor.generate.remote(key, list(tokens), max_tokens, tools, sampling)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise ModelDied(f"the engine on node {self._node} died while it answered {key}: {reason}") from None
        assert isinstance(said, Generation)
        return said

    async def close(self) -> None:
        """See `Model.close`."""
        import ray

        ray.kill(self._actor)


class RayEngines(Replicas):
    """All engines of a run as one model; closing it leaves the cluster."""

    def __init__(self, engines: Sequence[RayEngine], connection: ExitStack) -> None:
        super().__init__(engines)
        self._connection = connection

    async def close(self) -> None:
        """See `Model.close`."""
        with self._connection:
            await super().close()


def open_on_ray(address: str, count: int, backend: str, name: str, options: ModelOptions) -> RayEngines:
    """`count` engines with the model `name` on the Ray cluster at `address`, loaded.

    Raises:
        InputError: no cluster, no room on it, or a node that cannot load the model; that one is named.
        ModelDied: an engine ended while it was opened.
    """
    if backend not in ("vllm", "transformers"):
        raise InputError(f"--ray starts engines of vllm or transformers, --backend {backend} does not: leave out one")
    with ExitStack() as stack:
        stack.enter_context(joined(address))
        import ray

        needs = _needs(options, gpus=ray.cluster_resources().get("GPU", 0) > 0)
        kind = ray.remote(**needs, max_restarts=0, max_task_retries=0, max_concurrency=_REQUESTS)(_Engine)
        actors = [kind.remote() for _ in range(count)]
        placed = [actor.where.remote() for actor in actors]
        found, _ = ray.wait(placed, num_returns=count, timeout=_PLACE_SECONDS)
        if len(found) < count:
            what = " and ".join(f"{number:g} {resource.removeprefix('num_')}" for resource, number in needs.items())
            raise InputError(
                f"--ray: room for {len(found)} of {count} engines in {_PLACE_SECONDS:g} s: each takes {what}"
            )
        try:
            nodes = ray.get(placed)
            for node in nodes:
                check_node(node)
            own = replace(options, replicas=1, token=None)
            opened = [actor.open.remote(backend, name, own) for actor in actors]
            engines = [_opened(*each) for each in zip(actors, nodes, opened, strict=True)]
        except ray.exceptions.RayActorError as error:
            raise ModelDied(f"an engine ended while it was opened: {' '.join(str(error).split())}") from None
        return RayEngines(engines, stack.pop_all())


def _opened(actor: Any, node: Any, facts: Any) -> RayEngine:
    import ray

    try:
        return RayEngine(actor, node.name, ray.get(facts))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(f"node {node.name}: {error.cause}") from None
        raise


def _needs(options: ModelOptions, *, gpus: bool) -> dict[str, float]:
    """What an actor takes: its engine's GPUs, or a CPU where the cluster has none."""
    if not gpus:
        return {"num_cpus": 1}
    each = math.prod(int(options.engine.get(f"{kind}_parallel_size", 1)) for kind in ("tensor", "pipeline", "data"))
    return {"num_gpus": each}
