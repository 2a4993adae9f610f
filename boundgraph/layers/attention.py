"""Multi-head attention by its formula: the layer's own forward decides on masks, shapes and flags of speed.

Vaswani et al., Attention is all you need, 2017.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boundgraph.layers.registry import written_as
from boundgraph.operator import applied

INFINITY = float("inf")


@written_as(nn.MultiheadAttention)
def multihead_attention(
    layer: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    if not layer.batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    result, weights = batch_first_attention(
        layer, query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
    )
    return result if layer.batch_first else result.transpose(0, 1), weights


def batch_first_attention(
    layer: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any,
    need_weights: bool,
    attn_mask: Any,
    average_attn_weights: bool,
    is_causal: bool,
) -> tuple[Any, Any]:
    """What an `nn.MultiheadAttention` computes of sequences (batch, length, features)."""
    if is_causal and attn_mask is None:
        raise RuntimeError("is_causal says that attn_mask is causal, so it needs one")
    queries, keys, values = _projected(layer, query, key, value)
    keys, values, added = _with_further_positions(layer, keys, values)
    queries, keys, values = (_by_head(x, layer.num_heads) for x in (queries, keys, values))
    causal = is_causal and key_padding_mask is None and not need_weights
    mask = None
    if not causal and (attn_mask is not None or key_padding_mask is not None):
        options = (layer.num_heads, added, need_weights, query.dtype)
        mask = applied(additive_mask, attn_mask, key_padding_mask, *options)
    dropout = layer.dropout if layer.training else 0.0
    attended = F.scaled_dot_product_attention(queries, keys, values, mask, dropout, causal)
    result = F.linear(attended.transpose(1, 2).flatten(2), layer.out_proj.weight, layer.out_proj.bias)
    if not need_weights:
        return result, None
    scores = torch.matmul(queries * layer.head_dim**-0.5, keys.transpose(-2, -1))
    weights = F.dropout(torch.softmax(scores if mask is None else scores + mask, -1), dropout, layer.training)
    return result, weights.mean(1) if average_attn_weights else weights


def _projected(layer: Any, query: Any, key: Any, value: Any) -> list[Any]:
    size, bias = layer.embed_dim, layer.in_proj_bias
    if layer.in_proj_weight is None:
        weights = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    else:
        weights = [layer.in_proj_weight[i * size : (i + 1) * size] for i in range(3)]
    biases = [None if bias is None else bias[i * size : (i + 1) * size] for i in range(3)]
    return [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]


def _with_further_positions(layer: Any, keys: Any, values: Any) -> tuple[Any, Any, int]:
    """Keys and values with those that the layer adds to every sequence, and how many these are."""
    added = 0
    batch, size = keys.shape[0], layer.embed_dim
    if layer.bias_k is not None:
        keys = torch.cat((keys, layer.bias_k.expand(batch, 1, size)), 1)
        values = torch.cat((values, layer.bias_v.expand(batch, 1, size)), 1)
        added += 1
    if layer.add_zero_attn:
        keys = torch.cat((keys, keys.new_zeros((batch, 1, size))), 1)
        values = torch.cat((values, values.new_zeros((batch, 1, size))), 1)
        added += 1
    return keys, values, added


def _by_head(x: Any, heads: int) -> Any:
    """(batch, length, features) -> (batch, heads, length, features / heads)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def additive_mask(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, heads: int, added: int, need_weights: bool, dtype: Any
) -> Tensor:
    """Both masks in one, to be added to scores (batch, heads, length, keys): -inf where the layer does not look.

    attn_mask (length, keys) or (batch * heads, length, keys); key_padding_mask (batch, keys); bool ones say where it
    does not look. A row that sees nothing is 0 in `F.scaled_dot_product_attention`; a layer that also returns its
    weights computes NaN, so here such a row is NaN.
    """
    parts = []
    if attn_mask is not None:
        per_head = attn_mask.dim() == 3
        parts.append(_as_summand(attn_mask.unflatten(0, (-1, heads)) if per_head else attn_mask, dtype))
    if key_padding_mask is not None:
        parts.append(_as_summand(key_padding_mask[:, None, None, :], dtype))
    mask = F.pad(parts[0] if len(parts) == 1 else parts[0] + parts[1], (0, added))
    return mask.masked_fill((mask == -INFINITY).all(-1, keepdim=True), float("nan")) if need_weights else mask


def _as_summand(mask: Tensor, dtype: Any) -> Tensor:
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -INFINITY) if mask.dtype == torch.bool else mask
