"""Product over a dimension of each example, one factor after the other."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.bilinear import Products
from boundgraph.operator import Operator, Refused, register
from boundgraph.ops import product
from boundgraph.values import Interval

aten = torch.ops.aten


class Steps(NamedTuple):
    """Planes around each running product times the next factor."""

    products: tuple[Products, ...]
    dim: int
    ndim: int  # of the operand


def forward(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    return torch.prod(x, dim, keepdim)


def interval(x: Interval, dim: int, keepdim: bool = False) -> Interval:
    # exact: each factor enters once
    result = functools.reduce(product.interval, _factors(x, dim))
    return Interval(*(end.unsqueeze(dim) for end in result)) if keepdim else result


def _factors(x: Interval, dim: int) -> list[Interval]:
    require_inner_dims(dim, len(x.shape), "product")
    return [Interval(*ends) for ends in zip(*(end.unbind(dim) for end in x), strict=True)]


def relax(x: Interval, dim: int, keepdim: bool = False) -> Steps:
    running, *factors = _factors(x, dim)
    steps = []
    for factor in factors:
        steps.append(product.relax(running, factor))
        running = product.interval(running, factor)
    return Steps(tuple(steps), dim % len(x.shape), len(x.shape))


def through(coefficients: Tensor, steps: Steps) -> tuple[Tensor, Tensor]:
    """From the whole product to the running one and the last factor, and so on."""
    place = steps.dim + 1
    kept = coefficients.dim() == steps.ndim + 1
    running, pulled = coefficients.squeeze(place) if kept else coefficients, []
    offset = coefficients.new_zeros(coefficients.shape[:2])
    for products in reversed(steps.products):
        (running, factor), more = product.through(running, products)
        pulled.append(factor)
        offset = offset + more
    return torch.stack([running, *reversed(pulled)], place), offset


def _arguments(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None) -> tuple:
    if dtype is not None:
        raise Refused("a product in another dtype has no bound rule; convert the model instead")
    dim = axis if dim is None else dim
    if dim is None:
        raise Refused("a product over all dimensions mixes the examples of the batch; name one, e.g. x.prod(-1)")
    return input, dim, keepdim


PROD = register(
    Operator(
        name="prod",
        forward=forward,
        interval=interval,
        relax=relax,
        through=through,
        spellings=tuple((s, _arguments) for s in (torch.prod, "prod", aten.prod.dim_int)),
    )
)
