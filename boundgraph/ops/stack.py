"""Values stacked along a new dimension after the batch; any of them may carry bounds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, lower_of, upper_of

aten = torch.ops.aten


def forward(tensors: Any, dim: int = 0) -> Any:
    return torch.stack(tensors, dim)


def interval(tensors: Any, dim: int = 0) -> Interval:
    require_inner_dims(dim, len(tensors[0].shape) + 1, f"stack(dim={dim})")
    return Interval(*(torch.stack([end(t) for t in tensors], dim) for end in (lower_of, upper_of)))


def backward(coefficients: Tensor, tensors: Any, dim: int = 0) -> Tensor | tuple[Tensor, ...]:
    """Each of the values gets its own slice of the coefficients."""
    axis = dim % (len(tensors[0].shape) + 1) + 1
    slices = zip(tensors, coefficients.unbind(axis), strict=True)
    bounded = tuple(part for tensor, part in slices if isinstance(tensor, Interval))
    return bounded[0] if len(bounded) == 1 else bounded


STACK = register(
    Operator(
        name="stack",
        forward=forward,
        interval=interval,
        backward=backward,
        operands=("tensors",),
        joint=True,
        spellings=(torch.stack, aten.stack.default),
    )
)
