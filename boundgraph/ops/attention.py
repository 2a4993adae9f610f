"""Scaled dot-product attention, softmax(q k^T / sqrt(d) + mask) v, written out in products and a softmax.

Vaswani et al., Attention is all you need, 2017.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Expansion, Random, applied, register_rewrite
from boundgraph.ops import masked_softmax

aten = torch.ops.aten


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    """query (batch, ..., length, d), key (batch, ..., keys, d), value (batch, ..., keys, e)."""
    if dropout_p > 0:
        raise Random("dropout of attention weights is random and has no bounds; call .eval()")
    if enable_gqa:  # each key serves several queries
        groups = applied(heads_per_key, query.shape, key.shape)
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    if scale is None:
        scale = applied(scale_of, query.shape)
    scores = torch.matmul(query * scale, key.transpose(-2, -1))
    if is_causal:
        attn_mask = applied(causal_mask, query.shape, key.shape, query.device)
    weights = torch.softmax(scores, -1) if attn_mask is None else applied(masked_softmax.forward, scores, attn_mask)
    return torch.matmul(weights, value)


def scale_of(query_shape: torch.Size) -> float:
    return 1 / math.sqrt(query_shape[-1])


def heads_per_key(query_shape: torch.Size, key_shape: torch.Size) -> int:
    return query_shape[-3] // key_shape[-3]


def causal_mask(query_shape: torch.Size, key_shape: torch.Size, device: Any) -> Tensor:
    """True where a position may look: at itself and at what comes before."""
    return torch.ones(query_shape[-2], key_shape[-2], dtype=torch.bool, device=device).tril()


ATTENTION = register_rewrite(
    Expansion(
        name="attention",
        adapters=dict.fromkeys((F.scaled_dot_product_attention, aten.scaled_dot_product_attention.default), attention),
    )
)
