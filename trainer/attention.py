"""Attention that stops at the borders of packed examples, and cannot be used without them.

transformers' own detection of packed rows switches itself off, silently, when a cache is created (its default) or an
all-ones mask is passed, and the examples then see each other. A function registered under a name of its own gets no
mask from transformers at all, so what it does depends on `borders` alone, and it raises when they are missing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

NAME = "documents"


def document_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    *,
    borders: Tensor | None = None,
    longest: int | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_unused: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each document of one row; the registered signature of transformers.

    Args:
        borders: int32, shape (documents + 1,): where documents begin, from 0, and last the row's length. A border
            may be repeated (an empty document), so that its shape can stay the same from step to step.
        longest: an upper bound of a document's tokens; a plain number, so that no step waits for the device.

    Returns:
        Shape (1, T, H, D), and no weights.
    """
    if borders is None or longest is None:
        raise ValueError("document_attention needs `borders` and `longest`: without them examples would see each other")
    assert attention_mask is None, "the borders say who sees whom; a mask beside them could only contradict"
    assert query_1HTD.shape[0] == 1, "rows are concatenated, not stacked"
    assert dropout == 0.0, "attention dropout is not implemented"
    assert sliding_window is None or sliding_window >= longest, "sliding windows shorter than a document are not"
    grouped = query_1HTD.shape[1] != key_1KTD.shape[1]
    if not query_1HTD.is_cuda:
        return _each_document(query_1HTD, key_1KTD, value_1KTD, borders, scaling), None
    query_THD, key_TKD, value_TKD = (x[0].transpose(0, 1) for x in (query_1HTD, key_1KTD, value_1KTD))
    attended_THD = varlen_attn(
        query_THD,
        key_TKD,
        value_TKD,
        borders,
        borders,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0),  # everything before, nothing after
        enable_gqa=grouped,
    )
    assert isinstance(attended_THD, Tensor)
    return attended_THD.unsqueeze(0), None


# Not compiled: lengths differ from row to row, and each row would be compiled again.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _each_document(
    query_1HTD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, borders: Tensor, scaling: float | None
) -> Tensor:
    """One fused call a document, on a CPU; shape (1, T, H, D)."""
    times = query_1HTD.shape[1] // key_1KTD.shape[1]
    if times > 1:  # each key head, repeated for its group: the CPU's fused kernel takes no groups
        key_1KTD, value_1KTD = (x.repeat_interleave(times, dim=1) for x in (key_1KTD, value_1KTD))
    ends = borders.tolist()
    lengths = [end - start for start, end in pairwise(ends) if end > start]
    documents = zip(*(torch.split(x, lengths, dim=2) for x in (query_1HTD, key_1KTD, value_1KTD)), strict=True)
    attended = [F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling) for q, k, v in documents]
    return torch.cat(attended, dim=2).transpose(1, 2)


AttentionInterface.register(NAME, document_attention)
