"""Product of two operands that both carry bounds. With a constant it is `mul`, which is linear."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph import bilinear
from boundgraph.bilinear import Products
from boundgraph.broadcasting import require_same_dims, sum_to
from boundgraph.operator import Operator, register
from boundgraph.values import Interval


def forward(x: Tensor, y: Tensor) -> Tensor:
    return torch.mul(x, y)


def interval(x: Interval, y: Interval) -> Interval:
    # exact: a product is linear in each factor, so its extremes lie at corners of the box
    corners = [end * other for end in x for other in y]
    lower = torch.minimum(torch.minimum(*corners[:2]), torch.minimum(*corners[2:]))
    upper = torch.maximum(torch.maximum(*corners[:2]), torch.maximum(*corners[2:]))
    require_same_dims(lower.shape, x, y)
    return Interval(lower, upper)


def relax(x: Interval, y: Interval) -> Products:
    return bilinear.relaxed(x, y, torch.mul)


def through(coefficients: Tensor, products: Products) -> tuple[tuple[Tensor, ...], Tensor]:
    def adjoint(shape: torch.Size) -> Any:
        return lambda form, factor: sum_to(form * factor.unsqueeze(1), shape)

    x, y = products.x.center.shape, products.y.center.shape
    return bilinear.through(coefficients, products, adjoint(x), adjoint(y))


PRODUCT = register(
    Operator(
        name="product",
        forward=forward,
        interval=interval,
        relax=relax,
        through=through,
        operands=("x", "y"),
        joint=True,
        elementwise=True,
    )
)
