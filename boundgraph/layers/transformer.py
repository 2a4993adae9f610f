"""Transformer layers by their formula, without the fast paths that their own forward chooses between.

Inside, sequences are (batch, length, features), as graphs need them. A layer that has the length first turns them at
its border, and turns that follow each other cancel.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from boundgraph.errors import CaptureError
from boundgraph.layers.registry import written_as


@written_as(nn.TransformerEncoderLayer)
def encoder_layer(
    layer: Any, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
) -> Any:
    def attended(x: Any) -> Any:
        return layer.dropout1(_attention(layer.self_attn, x, x, src_mask, src_key_padding_mask, is_causal))

    x = turned(layer.self_attn, src)
    if layer.norm_first:
        x = x + attended(layer.norm1(x))
        x = x + _feed_forward(layer, layer.norm2(x), layer.dropout2)
    else:
        x = layer.norm1(x + attended(x))
        x = layer.norm2(x + _feed_forward(layer, x, layer.dropout2))
    return turned(layer.self_attn, x)


@written_as(nn.TransformerDecoderLayer)
def decoder_layer(
    layer: Any,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
) -> Any:
    def attended(x: Any) -> Any:
        return layer.dropout1(_attention(layer.self_attn, x, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))

    def remembered(x: Any) -> Any:
        mask = (memory_mask, memory_key_padding_mask, memory_is_causal)
        return layer.dropout2(_attention(layer.multihead_attn, x, memory, *mask))

    x, memory = turned(layer.self_attn, tgt), turned(layer.self_attn, memory)
    if layer.norm_first:
        x = x + attended(layer.norm1(x))
        x = x + remembered(layer.norm2(x))
        x = x + _feed_forward(layer, layer.norm3(x), layer.dropout3)
    else:
        x = layer.norm1(x + attended(x))
        x = layer.norm2(x + remembered(x))
        x = layer.norm3(x + _feed_forward(layer, x, layer.dropout3))
    return turned(layer.self_attn, x)


def turned(attention: Any, x: Any) -> Any:
    """A sequence in the order of an attention layer, batch first, and the other way round."""
    return x if attention.batch_first else x.transpose(0, 1)


def _attention(layer: Any, queries: Any, keys: Any, mask: Any, padding: Any, is_causal: bool) -> Any:
    queries, keys = turned(layer, queries), turned(layer, keys)
    options = {"attn_mask": mask, "key_padding_mask": padding, "is_causal": is_causal, "need_weights": False}
    return turned(layer, layer(queries, keys, keys, **options)[0])


def _feed_forward(layer: Any, x: Any, dropout: Any) -> Any:
    return dropout(layer.linear2(layer.dropout(layer.activation(layer.linear1(x)))))


@written_as(nn.TransformerEncoder)
def encoder(
    stack: Any, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
) -> Any:
    nested = stack.use_nested_tensor and not stack.layers[0].training
    if nested and mask is None and src_key_padding_mask is not None:
        raise CaptureError(
            "TransformerEncoder with nested tensors gives zeros at padded positions where no gradient is recorded, and "
            "other numbers where one is; make it with enable_nested_tensor=False"
        )
    x = src
    for layer in stack.layers:
        x = layer(x, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
    return _normalised(stack, x)


@written_as(nn.TransformerDecoder)
def decoder(
    stack: Any,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Any:
    x = tgt
    for layer in stack.layers:
        x = layer(
            x,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=bool(tgt_is_causal),
            memory_is_causal=memory_is_causal,
        )
    return _normalised(stack, x)


def _normalised(stack: Any, x: Any) -> Any:
    attention = stack.layers[0].self_attn
    return x if stack.norm is None else turned(attention, stack.norm(turned(attention, x)))


@written_as(nn.Transformer)
def transformer(
    model: Any,
    src: Any,
    tgt: Any,
    src_mask: Any = None,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    src_key_padding_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    src_is_causal: bool | None = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Any:
    memory = model.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
    return model.decoder(
        tgt,
        memory,
        tgt_mask=tgt_mask,
        memory_mask=memory_mask,
        tgt_key_padding_mask=tgt_key_padding_mask,
        memory_key_padding_mask=memory_key_padding_mask,
        tgt_is_causal=tgt_is_causal,
        memory_is_causal=memory_is_causal,
    )
