"""Sums of an element and all before it along one dimension of each example."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.linear_forms import transposed
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Tensor, dim: int) -> Tensor:
    return x.cumsum(dim)


def interval(x: Interval, dim: int) -> Interval:
    require_inner_dims(dim, len(x.shape), "cumsum")
    return x.through(lambda value: value.cumsum(dim))


def backward(coefficients: Tensor, x: Interval, dim: int) -> Tensor:
    return transposed(forward, coefficients, x, dim)


def _arguments(input: Any, dim: int, *, dtype: Any = None) -> tuple:
    if dtype is not None:
        raise Refused("a sum in another dtype has no bound rule; convert the model instead")
    return input, dim


CUMSUM = register(
    Operator(
        name="cumsum",
        forward=forward,
        interval=interval,
        backward=backward,
        spellings=tuple((spelling, _arguments) for spelling in (torch.cumsum, "cumsum", aten.cumsum.default)),
    )
)
