"""Fully connected layer, y = x W^T + b, over the last dimension."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Operator, register
from boundgraph.products import affine, matrix_product
from boundgraph.values import Interval


def forward(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def interval(x: Interval, weight: Tensor, bias: Tensor | None = None) -> Interval:
    # exact: every output moves by at most <|W|, radius> about the image of the centre, and some corner does it
    return Interval.around(affine(x.center, weight, bias), affine(x.radius, weight.abs()))


def backward(coefficients: Tensor, x: Interval, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return matrix_product(coefficients, weight)


def gradient(
    upstream: Tensor, coefficients: Tensor, x: Interval, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, None, Tensor | None, None]:
    """Of A W: G W^T for A, and A^T G for W."""
    of_weight = None
    if weight.requires_grad:
        of_weight = matrix_product(coefficients.flatten(0, -2).mT, upstream.flatten(0, -2))
    return matrix_product(upstream, weight.mT), None, of_weight, None


LINEAR = register(
    Operator(
        name="linear",
        forward=forward,
        interval=interval,
        backward=backward,
        gradient=gradient,
        spellings=(F.linear, torch.ops.aten.linear.default),
    )
)
