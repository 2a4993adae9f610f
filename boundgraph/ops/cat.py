"""Concatenation along a dimension other than the batch; any of the pieces may carry bounds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.operator import Expansion, Operator, register, register_rewrite
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


def _beside(tensors: Any) -> Any:
    """Of one-dimensional tensors these would be examples; they have no dimension 1, which is an error."""
    return torch.cat(tensors, 1)


def _below(tensors: Any) -> Any:
    return torch.cat(tensors, 0)


HSTACK = register_rewrite(Expansion("hstack", dict.fromkeys((torch.hstack, aten.hstack.default), _beside)))
VSTACK = register_rewrite(Expansion("vstack", dict.fromkeys((torch.vstack, aten.vstack.default), _below)))
