"""Normalisation layers, written out: groups of elements are divided by their size, then scaled and shifted."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from boundgraph.operator import Expansion, applied, register_rewrite
from boundgraph.ops import normalize

aten = torch.ops.aten


def _scaled(y: Any, weight: Any, bias: Any) -> Any:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _last(normalized_shape: Any) -> tuple[int, ...]:
    return tuple(range(-len(normalized_shape), 0))


def _layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enable: Any = True
) -> Any:
    y = applied(normalize.forward, input, _last(normalized_shape), "deviation", eps)
    return _scaled(y, weight, bias)


def _rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    y = applied(normalize.forward, input, _last(normalized_shape), "root_mean_square", eps)
    return _scaled(y, weight, None)


def _group_norm(
    input: Any, num_groups: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: Any = True
) -> Any:
    groups = torch.reshape(input, (input.shape[0], num_groups, -1))
    y = applied(normalize.forward, groups, (-1,), "deviation", eps)
    if weight is not None or bias is not None:
        y = torch.reshape(y, (input.shape[0], input.shape[1], -1))
        y = _scaled(y, *(None if part is None else torch.unsqueeze(part, 1) for part in (weight, bias)))
    return torch.reshape(y, input.shape)


def _instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: Any = True,
) -> Any:
    if use_input_stats:
        return _group_norm(input, input.shape[1], weight, bias, eps)
    return F.batch_norm(input, running_mean, running_var, weight, bias, False, 0.0, eps)


def _torch_instance_norm(input: Any, weight: Any, bias: Any, mean: Any, variance: Any, *options: Any) -> Any:
    return _instance_norm(input, mean, variance, weight, bias, *options)


register_rewrite(
    Expansion("layer_norm", dict.fromkeys((F.layer_norm, torch.layer_norm, aten.layer_norm.default), _layer_norm))
)
register_rewrite(Expansion("rms_norm", dict.fromkeys((F.rms_norm, torch.rms_norm, aten.rms_norm.default), _rms_norm)))
register_rewrite(
    Expansion("group_norm", dict.fromkeys((F.group_norm, torch.group_norm, aten.group_norm.default), _group_norm))
)
register_rewrite(
    Expansion(
        "instance_norm",
        {
            F.instance_norm: _instance_norm,
            **dict.fromkeys((torch.instance_norm, aten.instance_norm.default), _torch_instance_norm),
        },
    )
)
