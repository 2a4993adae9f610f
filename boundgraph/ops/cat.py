"""Concatenation along a dimension other than the batch; any of the pieces may carry bounds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.errors import GraphError
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, lower_of, upper_of

aten = torch.ops.aten


def forward(tensors: Any, dim: int = 0) -> Any:
    return torch.cat(tensors, dim)


def interval(tensors: Any, dim: int = 0) -> Interval:
    tensors = _pieces(tensors)
    require_inner_dims(dim, len(tensors[0].shape), f"cat(dim={dim})")
    return Interval(torch.cat([lower_of(t) for t in tensors], dim), torch.cat([upper_of(t) for t in tensors], dim))


def backward(coefficients: Tensor, tensors: Any, dim: int = 0) -> Tensor | tuple[Tensor, ...]:
    """Each piece gets its own part of the coefficients."""
    tensors = _pieces(tensors)
    axis = dim % len(tensors[0].shape) + 1
    parts = coefficients.split([t.shape[axis - 1] for t in tensors], axis)
    bounded = tuple(part for tensor, part in zip(tensors, parts, strict=True) if isinstance(tensor, Interval))
    return bounded[0] if len(bounded) == 1 else bounded


def _pieces(tensors: Any) -> list[Any]:
    """torch.cat leaves out tensors of shape (0,), with which caches of language models begin."""
    return [tensor for tensor in tensors if tuple(tensor.shape) != (0,)]


def turned(tensors: Any, dim: int = 0) -> tuple[tuple, bool] | None:
    return ((tensors, {0: 1, 1: 0}.get(dim, dim)), True) if dim >= -1 else None


CAT = register(
    Operator(
        name="cat",
        forward=forward,
        interval=interval,
        backward=backward,
        operands=("tensors",),
        joint=True,
        turned=turned,
        spellings=(torch.cat, torch.concat, torch.concatenate, aten.cat.default),
    )
)


def hstack(tensors: Any) -> Any:
    return torch.hstack(tensors)


def hstack_interval(tensors: Any) -> Interval:
    if len(tensors[0].shape) < 2:
        raise GraphError(
            "hstack of one number per example puts the examples beside each other; use torch.stack(..., 1)"
        )
    return interval(tensors, 1)


def hstack_backward(coefficients: Tensor, tensors: Any) -> Tensor | tuple[Tensor, ...]:
    return backward(coefficients, tensors, 1)


HSTACK = register(
    Operator(
        name="hstack",
        forward=hstack,
        interval=hstack_interval,
        backward=hstack_backward,
        operands=("tensors",),
        joint=True,
        spellings=(torch.hstack, aten.hstack.default),
    )
)
