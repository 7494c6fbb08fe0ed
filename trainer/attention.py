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

from sandbox.errors import InputError

NAME = "documents"
# What some models pass to their attention and no kernel here computes. Left out, it would train to a wrong loss.
_NOT_COMPUTED = ("softcap", "s_aux", "sinks", "position_bias")


class NoBorders(ValueError):
    """Attention was called without the borders of the documents, which would then see each other."""


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
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each document of one row; the registered signature of transformers.

    Args:
        borders: int32, shape (documents + 1,): where documents begin, from 0, and last the row's length. A border
            may be repeated (an empty document), so that its shape can stay the same from step to step.
        longest: an upper bound of a document's tokens; a plain number, so that no step waits for the device.
        sliding_window: how many tokens a token sees, itself counted; None: all before it.

    Returns:
        Shape (1, T, H, D), and no weights.

    Raises:
        NoBorders: the model does not hand them on.
        InputError: the model asks for attention of another kind.
    """
    if borders is None or longest is None:
        raise NoBorders("document_attention needs `borders` and `longest`: without them examples would see each other")
    assert attention_mask is None, "the borders say who sees whom; a mask beside them could only contradict"
    assert query_1HTD.shape[0] == 1, "rows are concatenated, not stacked"
    assert dropout == 0.0, "switched off in the configuration"
    if asked := [name for name in _NOT_COMPUTED if others.get(name) is not None]:
        raise InputError(f"the model cannot be trained: its attention has {', '.join(asked)}, not computed here")
    grouped = query_1HTD.shape[1] != key_1KTD.shape[1]
    if not query_1HTD.is_cuda:
        return _each_document(query_1HTD, key_1KTD, value_1KTD, borders, scaling, sliding_window), None
    width = value_1KTD.shape[-1]  # narrower than the keys in DeepSeek's latent attention; the kernel knows one width
    value_1KTD = F.pad(value_1KTD, (0, query_1HTD.shape[-1] - width))
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
        # Tokens before and after that are seen: -1 is all of them.
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=grouped,
    )
    assert isinstance(attended_THD, Tensor)
    return attended_THD[..., :width].unsqueeze(0), None


# Not compiled: lengths differ from row to row, and each row would be compiled again.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _each_document(
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    borders: Tensor,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """One fused call a document, on a CPU; shape (1, T, H, D)."""
    times = query_1HTD.shape[1] // key_1KTD.shape[1]
    if times > 1:  # each key head, repeated for its group: the CPU's fused kernel takes no groups
        key_1KTD, value_1KTD = (x.repeat_interleave(times, dim=1) for x in (key_1KTD, value_1KTD))
    ends = borders.tolist()
    lengths = [end - start for start, end in pairwise(ends) if end > start]
    documents = zip(*(torch.split(x, lengths, dim=2) for x in (query_1HTD, key_1KTD, value_1KTD)), strict=True)
    attended = [_attend(q, k, v, scaling, window) for q, k, v in documents]
    return torch.cat(attended, dim=2).transpose(1, 2)


def _attend(
    query_1HLD: Tensor, key_1HLD: Tensor, value_1HLD: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    """Causal attention in one document of L tokens, each of which sees `window` tokens; shape (1, H, L, D)."""
    length = query_1HLD.shape[2]
    if window is None or window >= length:
        return F.scaled_dot_product_attention(query_1HLD, key_1HLD, value_1HLD, is_causal=True, scale=scaling)
    seen_LL = torch.ones(length, length, dtype=torch.bool, device=query_1HLD.device).tril().triu(1 - window)
    return F.scaled_dot_product_attention(query_1HLD, key_1HLD, value_1HLD, attn_mask=seen_LL, scale=scaling)


AttentionInterface.register(NAME, document_attention)
