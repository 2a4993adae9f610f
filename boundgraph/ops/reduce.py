"""Sum and mean over dimensions of each example."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims, turned_reduction
from boundgraph.linear_forms import transposed
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval

aten = torch.ops.aten


def total(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return x.sum(dim, keepdim)


def total_interval(x: Interval, dim: Any = None, keepdim: bool = False) -> Interval:
    require_inner_dims(dim, len(x.shape), "sum")
    return x.through(lambda value: total(value, dim, keepdim))


def total_backward(coefficients: Tensor, x: Interval, dim: Any = None, keepdim: bool = False) -> Tensor:
    return transposed(total, coefficients, x, dim, keepdim)


def average(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return x.mean(dim, keepdim)


def average_interval(x: Interval, dim: Any = None, keepdim: bool = False) -> Interval:
    require_inner_dims(dim, len(x.shape), "mean")
    return x.through(lambda value: average(value, dim, keepdim))


def average_backward(coefficients: Tensor, x: Interval, dim: Any = None, keepdim: bool = False) -> Tensor:
    return transposed(average, coefficients, x, dim, keepdim)


def _arguments(*args: Any, dtype: Any = None, **keywords: Any) -> tuple:
    if dtype is not None:
        raise Refused("a sum or mean in another dtype has no bound rule; convert the model instead")
    names = {"input": "x", "self": "x", "axis": "dim"}
    given = dict(zip(("x", "dim", "keepdim"), args, strict=False)) | {names.get(k, k): v for k, v in keywords.items()}
    return given["x"], given.get("dim"), given.get("keepdim", False)


SUM = register(
    Operator(
        name="sum",
        forward=total,
        interval=total_interval,
        backward=total_backward,
        turned=turned_reduction,
        spellings=tuple((s, _arguments) for s in (torch.sum, "sum", aten.sum.default, aten.sum.dim_IntList)),
    )
)
MEAN = register(
    Operator(
        name="mean",
        forward=average,
        interval=average_interval,
        backward=average_backward,
        turned=turned_reduction,
        spellings=tuple((s, _arguments) for s in (torch.mean, "mean", aten.mean.default, aten.mean.dim)),
    )
)
