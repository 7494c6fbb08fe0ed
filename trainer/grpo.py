"""GRPO: a model's own solutions, made more or less likely by how each compares with the others of its problem.

    advantage  A = (reward - mean of its group) / (deviation of its group + 1e-4)
    loss of a sampled token  -min(r A, clip(r, 1 - low, 1 + high) A) + kl (q/p - log(q/p) - 1)

p is the model's probability of the token, q the frozen reference's, r is p over what it was when the token was sampled.
Source: DeepSeekMath, arXiv 2402.03300, section 4.1. Its own setting is one step after each exploration: then r is 1,
nothing is clipped, and the gradient is that of a cross-entropy with a signed weight. Variants are fields: Dr. GRPO
(2503.20783) neither divides by the deviation nor by each solution's length; DAPO (2503.14476) counts all tokens alike
and clips higher above.

Everything else is supervised learning's: rows, attention, cross-entropies, step. Tokens are those that were sampled,
never those of a text; what a tool printed has no target. It does not sample, and does not know where rewards come from.

Legend of shape suffixes: S samples of a step, N targets of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from sandbox.errors import InputError
from trainer.batches import MicroBatch, Order
from trainer.config import TrainConfig
from trainer.model import Learner
from trainer.plan import plan
from trainer.render import Rendered
from trainer.step import take_step
from trainer.world import World

Per = Literal["solution", "token", "budget"]
_EPSILON = 1e-4  # TRL's; the deviation is that of a sample (divided by n - 1), as in TRL and verl


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is lowered; the defaults are DeepSeekMath-RL's.

    Attributes:
        kl: weight of the divergence from the reference; 0 needs none.
        unbiased_kl: multiply the divergence by r, so that its gradient is that of the true divergence (DeepSeek-V3.2,
            2512.02556; TRL's default).
        deviation: divide by each group's deviation (GRPO, DAPO), or not (Dr. GRPO).
        per: mean over each solution's tokens, then over solutions (GRPO); over all tokens (DAPO); or a sum divided by
            `budget` tokens a solution, whatever its length (Dr. GRPO).
        steps: parts into which an exploration is divided, a step each. From the second on r is not 1.
        temperature: at which solutions were sampled; p, q and r are probabilities at it, as TRL and verl have it.
    """

    kl: float = 0.04
    unbiased_kl: bool = False
    clip_low: float = 0.2
    clip_high: float = 0.2
    deviation: bool = True
    per: Per = "solution"
    budget: int = 2048
    steps: int = 1
    temperature: float = 1.0


@dataclass(frozen=True)
class Sampled:
    """One solution: its tokens, prompt first, which of them the model drew, and its reward."""

    tokens: Sequence[int]
    drawn: Sequence[bool]
    reward: float


@dataclass
class Sums:
    """What an update says of itself, added up over its targets; `loss` is the objective's, the mean of its steps."""

    loss: float = 0.0
    kl: float = 0.0
    clipped: int = 0
    surprise: float = 0.0  # -log p: its mean over what was drawn estimates the entropy
    targets: int = 0
    tokens: int = 0
    gradient_norms: list[float] = field(default_factory=list)
    skipped: int = 0  # steps that were not finite


def advantages(rewards: Sequence[float], *, deviation: bool = True) -> NDArray[np.float64]:
    """How much better than its group each sample is, shape (samples of the group,); all 0 where rewards are equal.

    Raises:
        InputError: a reward is not finite.
    """
    values = np.asarray(rewards, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"a reward is {values[~np.isfinite(values)][0]}, expected a finite number: mend what gives it")
    if len(values) < 2 or (values == values[0]).all():
        return np.zeros(len(values))  # exactly: a mean of equal numbers may differ from them in the last bit
    centred: NDArray[np.float64] = values - values.mean()
    return centred / (values.std(ddof=1) + _EPSILON) if deviation else centred


def as_rows(samples: Sequence[Sampled]) -> Rendered:
    """The samples as the trainer takes examples, each in a group of its own."""
    lengths = np.array([len(sample.tokens) for sample in samples], dtype=np.int64)
    tokens = np.concatenate([np.asarray(sample.tokens, dtype=np.uint32) for sample in samples])
    drawn = np.concatenate([np.asarray(sample.drawn, dtype=np.bool_) for sample in samples])
    numbers = np.arange(len(samples))
    return Rendered(
        lengths=lengths,
        targets=np.array([sum(sample.drawn[1:]) for sample in samples], dtype=np.int64),
        groups=numbers,
        names=tuple((str(number), "", "") for number in numbers),
        lines=numbers + 1,
        files=("rollouts",),
        _files=np.zeros_like(numbers),
        _shards=((tokens, drawn),),
        _starts=np.cumsum(lengths) - lengths,
        _owners=np.zeros_like(numbers),
    )


def in_one_step(data: Rendered, row_tokens: int, *, seed: int = 0) -> Order:
    """Rows with every sample once, as one step.

    Raises:
        ValueError: a sample is longer than a row.
    """
    if data.lengths.max() > row_tokens:
        raise ValueError(f"a sample has {data.lengths.max()} tokens, more than a row's {row_tokens}")
    rows = plan(data.lengths, row_tokens, seed=seed, epoch=0, buffer=256).rows
    return Order(data, steps=1, batch_rows=rows, row_tokens=row_tokens, seed=seed)


def learn(
    learner: Learner,
    reference: Learner | None,
    optimizer: Optimizer,
    groups: Sequence[Sequence[Sampled]],
    objective: Objective,
    config: TrainConfig,
    world: World,
    *,
    rate: float,
) -> Sums:
    """One update from the solutions of one exploration, a group a problem. Where nothing has a signal nothing moves.

    Args:
        reference: the frozen model; needed if `objective.kl` is not 0.
    """
    sums = Sums()
    parts = [list(part) for part in np.array_split(np.arange(len(groups)), objective.steps) if len(part)]
    jobs = [_Job([groups[number] for number in part], objective, config) for part in parts]
    jobs = [job for job in jobs if job.order is not None]
    if len(jobs) > 1:  # the first step changes the model that the others were sampled from
        for job in jobs:
            job.note_old(learner, config.micro_rows, world)
    for job in jobs:
        assert job.order is not None
        job.begin(reference, sums, world)
        result = take_step(learner, optimizer, job.order, 0, config, world, objective=job.losses, rate=rate)
        sums.loss += job.loss / len(jobs)
        sums.surprise += float(result.losses.sum())
        sums.targets += int(job.order.targets[0])
        sums.tokens += int(job.order.tokens[0])
        sums.gradient_norms.append(result.gradient_norm)
        sums.skipped += result.skipped
    return sums


class _Job:
    """One step's samples with their weights; those that cannot move anything are left out."""

    def __init__(self, groups: Sequence[Sequence[Sampled]], objective: Objective, config: TrainConfig) -> None:
        self._objective, self._config = objective, config
        every = [sample for group in groups for sample in group]
        found = np.concatenate(
            [advantages([s.reward for s in group], deviation=objective.deviation) for group in groups]
        )
        targets = np.array([sum(sample.drawn[1:]) for sample in every])
        moving = (targets > 0) & ((found != 0) | (objective.kl > 0))
        # Only if something has a signal: the reference alone is no reason to move.
        self.order = None
        if not (moving & (found != 0)).any():
            return
        data = as_rows([sample for sample, moves in zip(every, moving, strict=True) if moves])
        self.order = in_one_step(data, config.row_tokens, seed=config.seed)
        # Samples that are left out count in the means all the same. take_step divides by the targets.
        share = {
            "solution": 1 / (len(every) * np.maximum(targets, 1)),
            "token": np.full(len(every), 1 / max(1, targets.sum())),
            "budget": np.full(len(every), 1 / (len(every) * objective.budget)),
        }[objective.per]
        self._shares = share[moving]
        self._advantages = found[moving]
        self._old: Tensor | None = None

    def begin(self, reference: Learner | None, sums: Sums, world: World) -> None:
        assert self.order is not None
        self._reference, self._sums, self.loss = reference, sums, 0.0
        scale = self._shares * int(self.order.targets[0])
        self._scale_S = torch.tensor(scale, dtype=torch.float32, device=world.device)
        self._advantage_S = torch.tensor(self._advantages, dtype=torch.float32, device=world.device)

    @torch.no_grad()
    def note_old(self, learner: Learner, micro_rows: int, world: World) -> None:
        """Keep the log-probabilities of the model that sampled, before the first step."""
        assert self.order is not None
        data, row_tokens = self.order.data, self._config.row_tokens
        self._starts_S = torch.tensor(np.cumsum(data.targets) - data.targets, device=world.device)
        self._old = torch.zeros(int(data.targets.sum()), device=world.device)
        for batch in self.order.micro_batches(0, micro_rows=micro_rows, device=world.device):
            self._old[self._places(batch)] = -learner(batch, row_tokens)

    def _places(self, batch: MicroBatch) -> Tensor:
        """Where the targets of a micro-batch stand among all targets of the step, sample by sample, shape (N,)."""
        owners, counts = torch.unique_consecutive(batch.groups_N, return_counts=True)
        begins = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        within_N = torch.arange(len(batch.groups_N), device=counts.device) - begins
        return self._starts_S[batch.groups_N] + within_N if len(owners) else within_N

    def losses(self, batch: MicroBatch, losses_N: Tensor) -> Tensor:
        """The objective at each target, shape (N,), scaled so that the sum over targets is its mean."""
        objective = self._objective
        logp_N = -losses_N
        old_N = logp_N.detach() if self._old is None else self._old[self._places(batch)]
        ratio_N = (logp_N - old_N).exp()
        advantage_N = self._advantage_S[batch.groups_N]
        clipped_N = ratio_N.clamp(1 - objective.clip_low, 1 + objective.clip_high) * advantage_N
        wanted_N = -torch.minimum(ratio_N * advantage_N, clipped_N)
        self._sums.clipped += int((clipped_N < ratio_N * advantage_N).sum())
        if objective.kl:
            assert self._reference is not None, "a divergence needs the reference"
            with torch.no_grad():
                reference_N = -self._reference(batch, self._config.row_tokens)
            apart_N = reference_N - logp_N
            divergence_N = apart_N.exp() - apart_N - 1
            self._sums.kl += float(divergence_N.detach().sum())
            wanted_N = wanted_N + objective.kl * (ratio_N * divergence_N if objective.unbiased_kl else divergence_N)
        wanted_N = wanted_N * self._scale_S[batch.groups_N]
        assert self.order is not None
        self.loss += float(wanted_N.detach().sum()) / int(self.order.targets[0])
        return wanted_N
