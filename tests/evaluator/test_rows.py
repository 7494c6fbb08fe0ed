"""The sampling of one row, against transformers' own processors, and that a batch changes nothing in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from evaluator.models.rows import RowSampler, kept
from evaluator.models.types import Sampling

VOCABULARY = 50


def logits(seed: int, rows: int = 1) -> Any:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def drawn(sampling: Sampling, scores: Any, ids: Any, lengths: list[int]) -> list[int]:
    """The tokens of the rows by one call for all of them."""
    sampler = RowSampler([sampling] * len(scores), ids.shape[1], lengths, torch.device("cpu"))
    return list(sampler(ids, scores).argmax(-1).tolist())


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0),
        Sampling(1.0, top_k=5),
        Sampling(1.0, top_p=0.7),
        Sampling(1.0, min_p=0.1),
        Sampling(1.0, 0.8, 0, 12, 0.02),
        Sampling(1.0, top_p=1e-9),
    ],
)
def test_what_may_be_drawn_is_what_transformers_own_warpers_leave(sampling: Sampling) -> None:
    warpers: list[Any] = []
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    for seed in range(50):
        scores = logits(seed)
        expected = LogitsProcessorList(warpers)(torch.zeros(1, 1, dtype=torch.long), scores.clone())[0]
        assert torch.equal(kept(scores[0], sampling), expected)


def test_a_penalty_sees_the_rows_own_tokens_and_no_padding() -> None:
    scores = logits(1)
    ids = torch.tensor([[7, 7, 7, 3, 4]])  # 7 is padding here
    expected = RepetitionPenaltyLogitsProcessor(1.5)(torch.tensor([[3, 4]]), scores.clone())
    found = RowSampler([Sampling(repetition_penalty=1.5)], 5, [2], torch.device("cpu"))(ids, scores)
    assert torch.equal(found, expected)


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    scores = logits(2)
    wanted = (scores[0] / 0.8).softmax(-1)
    ids = torch.zeros(4000, 1, dtype=torch.long)
    sampler = RowSampler([Sampling(0.8, seed=n) for n in range(4000)], 1, [1] * 4000, torch.device("cpu"))
    counts = torch.bincount(sampler(ids, scores.expand(4000, -1)).argmax(-1), minlength=VOCABULARY)
    deviations = (counts - 4000 * wanted).abs() / (4000 * wanted * (1 - wanted)).sqrt().clamp_min(1)
    assert deviations.max() < 5


def test_a_seed_draws_the_same_alone_and_in_any_batch() -> None:
    samplings = [replace(Sampling(1.0, seed=n), temperature=0.5 + n % 3) for n in range(16)] + [Sampling()]
    scores = logits(3, len(samplings))
    ids = torch.zeros(len(samplings), 1, dtype=torch.long)
    together = RowSampler(samplings, 1, [1] * len(samplings), torch.device("cpu"))
    first, second = (together(ids, scores).argmax(-1).tolist() for _ in range(2))
    assert first[-1] == second[-1] == scores[-1].argmax()
    assert first != second
    for number, sampling in enumerate(samplings):
        alone = RowSampler([sampling], 1, [1], torch.device("cpu"))
        own = [alone(ids[:1], scores[number : number + 1]).argmax().item() for _ in range(2)]
        assert own == [first[number], second[number]]
