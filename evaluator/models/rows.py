"""The next token of each row of a batch by that row's own rules, for an engine that has one set of rules a batch.

Penalty, temperature, top-k, top-p and min-p follow vLLM's order and definitions, and so does the draw: the token with
the largest p / q, where q is exponential noise. The noise comes from the row's own generator, so a seed draws the same
whatever else is in the batch; what still differs is the rounding of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluator.models.types import Sampling


class RowSampler:
    """A logits processor of transformers: it makes the drawn token of each row the only one that greedy decoding takes.

    `prompts` are the rows' own tokens without the padding, which no penalty may see.
    """

    def __init__(self, samplings: Sequence[Sampling], width: int, lengths: Sequence[int], device: torch.device) -> None:
        self._samplings = samplings
        self._starts = [width - length for length in lengths]
        self._generators = [torch.Generator(device).manual_seed(one.seed) for one in samplings]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` of shape (B, V) after the rows `input_ids` of shape (B, T), prompts and answers so far."""
        rows = zip(self._samplings, self._generators, self._starts, input_ids, scores.float(), strict=True)
        return torch.stack([self._row(*row) for row in rows])

    def _row(self, sampling: Sampling, noise: torch.Generator, start: int, ids_T: Tensor, logits_V: Tensor) -> Tensor:
        if sampling.repetition_penalty != 1.0:
            seen = torch.unique(ids_T[start:])
            of_seen = logits_V[seen]
            penalty = sampling.repetition_penalty
            logits_V = logits_V.clone()
            logits_V[seen] = torch.where(of_seen > 0, of_seen / penalty, of_seen * penalty)
        if not sampling.temperature:
            return logits_V
        probabilities_V = kept(logits_V / sampling.temperature, sampling).softmax(-1)
        noise_V = torch.empty_like(probabilities_V).exponential_(generator=noise)
        drawn = (probabilities_V / noise_V).argmax(-1)
        return torch.full_like(logits_V, -torch.inf).index_fill_(0, drawn, 0.0)


def kept(logits_V: Tensor, sampling: Sampling) -> Tensor:
    """`logits_V`, with -inf for the tokens that min-p, top-k or top-p leave out; the likeliest one always stays."""
    if sampling.min_p:
        probabilities_V = logits_V.softmax(-1)
        logits_V = logits_V.masked_fill(probabilities_V < sampling.min_p * probabilities_V.max(), -torch.inf)
    if 0 < sampling.top_k < len(logits_V):
        logits_V = logits_V.masked_fill(logits_V < logits_V.topk(sampling.top_k).values[-1], -torch.inf)
    if sampling.top_p < 1:
        ascending_V, order_V = logits_V.sort()
        out_V = ascending_V.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        out_V[-1] = False
        logits_V = logits_V.masked_fill(torch.zeros_like(out_V).scatter(0, order_V, out_V), -torch.inf)
    return logits_V
