"""One step of GRPO: its gradient is a plain loop's and TRL's, and what should not move anything does not."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.grpo_trl import BUDGET, VARIANTS, Case, make_case
from sandbox.errors import InputError
from trainer.batches import fill_row
from trainer.config import TrainConfig
from trainer.grpo import Objective, Sampled, Sums, _Job, advantages, as_rows, in_one_step, learn
from trainer.model import Learner, build_learner, load_weights
from trainer.step import take_step
from trainer.world import World

# `python -m bench.grpo_trl` with trl 1.16.0: (loss, norm of its gradient) by variant.
TRL = {
    "deepseekmath": (0.00761471688747406, 1.1066384315490723),
    "trl's default kl": (0.00761471688747406, 1.1076849699020386),
    "no reference": (-7.450580596923828e-09, 1.1080801486968994),
    "clipped": (0.026531409472227097, 0.9839138984680176),
    "dr_grpo": (-0.03125, 0.369112491607666),
    "temperature": (0.016809534281492233, 1.5983948707580566),
    "dapo": (-0.1006254330277443, 1.172952651977539),
}
CONFIG = TrainConfig(data=Path("-"), out=Path("-"), model="-", row_tokens=96, micro_rows=2, clip=1e9)


class Kept(torch.optim.SGD):
    """Keeps the gradients that it was to step by, and steps by none."""

    kept: list[Tensor]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.kept = [p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None]


def learner_of(model: Any, world: World) -> Learner:
    learner = build_learner(copy.deepcopy(model.config), world, precision=torch.float32)
    load_weights(learner, {name: value.clone() for name, value in model.state_dict().items()})
    return learner.train()


def objective_of(variant: str) -> Objective:
    settings, deviation, _ = VARIANTS[variant]
    per: Any = {"grpo": "solution", "dapo": "token", "dr_grpo": "budget"}[settings["loss_type"]]
    low = settings.get("epsilon", 0.2)
    return Objective(
        kl=settings["beta"], unbiased_kl=settings.get("use_bias_correction_kl", True), clip_low=low,
        clip_high=settings.get("epsilon_high", low), deviation=deviation, per=per, budget=BUDGET,
        temperature=settings.get("temperature", 1.0),
    )  # fmt: skip


def sampled(case: Case) -> list[list[Sampled]]:
    return [[Sampled(*sample) for sample in group] for group in case.groups]


def our_step(case: Case, variant: str, world: World) -> tuple[Sums, list[Tensor]]:
    """Loss, statistics and gradients of one step on the case."""
    objective, groups = objective_of(variant), sampled(case)
    learner, reference = learner_of(case.model, world), learner_of(case.reference, world)
    learner.temperature = reference.temperature = objective.temperature
    optimizer = Kept(learner.parameters(), lr=1.0)
    if not VARIANTS[variant][2]:
        sums = learn(learner, reference, optimizer, groups, objective, CONFIG, world, rate=1.0)
        return sums, optimizer.kept
    sums, job = Sums(), _Job(groups, objective, CONFIG)
    assert job.order is not None
    job.note_old(learner, CONFIG.micro_rows, world)
    flat = [sample for group in groups for sample in group]
    moves = [bool(objective.kl) or len({one.reward for one in group}) > 1 for group in groups for _ in group]
    job._old = torch.tensor([x for old, move in zip(case.old, moves, strict=True) if move for x in old])
    assert len(job._old) == sum(sum(one.drawn) for one, move in zip(flat, moves, strict=True) if move)
    job.begin(reference, sums, world)
    result = take_step(learner, optimizer, job.order, 0, CONFIG, world, objective=job.losses, rate=1.0)
    sums.loss, sums.gradient_norms = job.loss, [result.gradient_norm]
    return sums, optimizer.kept


def plain_loop(case: Case, variant: str) -> tuple[float, list[Tensor]]:
    """The same by the paper's formulas, sample by sample and token by token, on transformers' own logits."""
    (settings, deviation, uses_old), per = VARIANTS[variant], objective_of(variant).per
    low = settings.get("epsilon", 0.2)
    high, temperature = settings.get("epsilon_high", low), settings.get("temperature", 1.0)
    number, sums, everywhere = 0, [], 0
    for group in case.groups:
        rewards = [reward for _, _, reward in group]
        mean = sum(rewards) / len(rewards)
        spread = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1)) + 1e-4
        for tokens, drawn, reward in group:
            advantage = (reward - mean) / (spread if deviation else 1.0)
            p = (case.model(torch.tensor([tokens])).logits[0].double() / temperature).log_softmax(-1)
            with torch.no_grad():
                q = (case.reference(torch.tensor([tokens])).logits[0].double() / temperature).log_softmax(-1)
            total, count = torch.zeros((), dtype=torch.float64), 0
            for place in range(1, len(tokens)):
                if not drawn[place]:
                    continue
                now, ref = p[place - 1, tokens[place]], q[place - 1, tokens[place]]
                before = torch.tensor(case.old[number][count]).double() if uses_old else now.detach()
                ratio = (now - before).exp()
                gain = torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
                weight = settings["beta"] * (ratio if settings.get("use_bias_correction_kl", True) else 1.0)
                total = total - gain + weight * ((ref - now).exp() - (ref - now) - 1)
                count += 1
            sums.append((total, count))
            everywhere += count
            number += 1
    divisors = {
        "solution": lambda n: n * len(sums),
        "token": lambda n: everywhere,
        "budget": lambda n: BUDGET * len(sums),
    }
    loss = torch.stack([total / divisors[per](count) for total, count in sums]).sum()
    case.model.zero_grad()
    loss.backward()
    return float(loss.detach()), [weight.grad.clone() for weight in case.model.parameters()]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_is_a_plain_loops_and_the_loss_is_trls(variant: str, world: World) -> None:
    case = make_case()
    sums, gradients = our_step(case, variant, world)
    loss, wanted = plain_loop(case, variant)
    assert sums.loss == pytest.approx(loss, abs=1e-6)
    assert len(gradients) == len(wanted)
    assert max(float((one - other).abs().max()) for one, other in zip(gradients, wanted, strict=True)) < 1e-6
    assert sums.loss == pytest.approx(TRL[variant][0], abs=1e-5)
    assert sums.gradient_norms[0] == pytest.approx(TRL[variant][1], abs=1e-5)
    assert (sums.clipped > 0) == VARIANTS[variant][2]


def test_a_model_does_not_diverge_from_itself(world: World) -> None:
    case = make_case()
    learner, same = learner_of(case.model, world), learner_of(case.model, world)
    optimizer = Kept(learner.parameters(), lr=1.0)
    groups = sampled(case)
    learn(learner, None, optimizer, groups, Objective(kl=0.0), CONFIG, world, rate=1.0)
    alone = optimizer.kept
    sums = learn(learner, same, optimizer, groups, Objective(kl=10.0), CONFIG, world, rate=1.0)
    assert sums.kl == 0.0
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(optimizer.kept, alone, strict=True))


@pytest.mark.parametrize("rewards", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.1, 0.1, 0.1)])
def test_groups_of_equal_rewards_move_nothing(rewards: Sequence[float], world: World) -> None:
    case = make_case()
    learner, reference = learner_of(case.model, world), learner_of(case.reference, world)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.1)
    before = [weight.detach().clone() for weight in learner.parameters()]
    groups = [[Sampled(t, d, r) for (t, d, _), r in zip(group, rewards, strict=False)] for group in case.groups]
    sums = learn(learner, reference, optimizer, groups, Objective(), CONFIG, world, rate=0.1)
    assert all(torch.equal(one, other) for one, other in zip(learner.parameters(), before, strict=True))
    assert (sums.gradient_norms, sums.targets, len(optimizer.state)) == ([], 0, 0)


def test_only_drawn_tokens_are_targets_so_a_tools_output_has_weight_0() -> None:
    tokens, drawn = [5, 6, 7, 8, 9, 10], [False, False, True, False, False, True]
    data = as_rows([Sampled(tokens, drawn, 1.0)])
    row = fill_row([data.example(0)], 8)
    assert row.targets.tolist() == [-100, 7, -100, -100, 10, -100, -100, -100]
    assert data.targets.tolist() == [2]


def test_what_a_tool_printed_gets_no_gradient_of_its_own(world: World) -> None:
    """The output's logits: the same step with the head's row of a printed token kept out of everything else."""
    case = make_case()
    group = [Sampled([3, 4, 5, 299, 6], [False, False, True, False, True], float(number)) for number in range(2)]
    group[1] = Sampled([3, 4, 5, 299, 7], group[1].drawn, 1.0)
    learner = learner_of(case.model, world)
    optimizer = Kept(learner.parameters(), lr=1.0)
    learn(learner, None, optimizer, [group], Objective(kl=0.0), CONFIG, world, rate=1.0)
    names = [name for name, _ in learner.named_parameters()]
    head = optimizer.kept[names.index("model.lm_head.weight")]
    # Were 299 a target, its row would be pushed as those of 6 and 7 are; it is only one of the many not drawn.
    assert head[299].norm() < 0.05 * head[6].norm()
    assert head[6].norm() > 0


def test_advantages_compare_with_the_group_and_are_exactly_0_where_rewards_are_equal() -> None:
    assert advantages([1.0, 0.0, 0.0, 0.0]).tolist() == pytest.approx([1.4997, -0.4999, -0.4999, -0.4999], abs=1e-4)
    assert advantages([1.0, 0.0], deviation=False).tolist() == [0.5, -0.5]
    assert (advantages([0.1] * 7) == 0).all()
    assert np.mean([0.1] * 7) != 0.1, "a mean of equal numbers is not always their value: hence the exact case"
    assert advantages([3.0]).tolist() == [0.0]


def test_a_second_step_of_an_exploration_is_clipped_against_the_model_that_sampled(world: World) -> None:
    case = make_case()
    learner = learner_of(case.model, world)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.1)
    sums = learn(learner, None, optimizer, sampled(case), Objective(kl=0.0, steps=2), CONFIG, world, rate=0.05)
    assert len(sums.gradient_norms) == 2
    assert sums.clipped > 0


def test_no_sample_is_left_out_for_its_length_and_none_is_there_twice() -> None:
    samples = [Sampled([1] * length, [True] * length, 0.0) for length in (90, 60, 50, 30, 20, 7)]
    order = in_one_step(as_rows(samples), 96)
    seen = np.concatenate([order.plans[0].row(index) for index in range(order.batch_rows)])
    assert sorted(seen.tolist()) == list(range(6))
    with pytest.raises(ValueError, match="97 tokens, more than a row's 96"):
        in_one_step(as_rows([Sampled([1] * 97, [True] * 97, 0.0)]), 96)


def test_an_update_that_is_not_finite_changes_nothing_and_is_counted(world: World) -> None:
    case = make_case()
    learner = learner_of(case.model, world)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.1)
    groups = sampled(case)
    next(learner.parameters()).data[7] = math.inf  # the embedding of a token that some samples hold
    before = [weight.detach().clone() for weight in learner.parameters()]
    sums = learn(learner, None, optimizer, groups, Objective(kl=0.0), CONFIG, world, rate=0.1)
    assert sums.skipped == 1
    assert all(torch.equal(one, other) for one, other in zip(learner.parameters(), before, strict=True))


@pytest.mark.parametrize("reward", [math.inf, math.nan])
def test_a_reward_that_is_not_finite_is_one_line(reward: float) -> None:
    with pytest.raises(InputError, match=r"a reward is (inf|nan), expected a finite number"):
        advantages([0.0, reward])
