"""Fully connected layer, y = x W^T + b, over the last dimension."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.declared import differentiated_by
from boundgraph.operator import Operator, register
from boundgraph.products import affine, matrix_product
from boundgraph.values import Interval


def forward(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def interval(x: Interval, weight: Tensor, bias: Tensor | None = None) -> Interval:
    # exact: every output moves by at most <|W|, radius> about the image of the centre, and some corner does it
    return Interval.around(*_image(x.center, x.radius, weight, bias))


def _image_gradient(
    upstream: list[Tensor], _: Any, center: Tensor, radius: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Those of two products; that of |W| reaches W with the sign of W."""
    of_center, of_radius = upstream
    of_weight = of_bias = None
    if weight.requires_grad:
        of_weight = _of_weight(of_center, center).addcmul_(weight.sgn(), _of_weight(of_radius, radius))
    if bias is not None and bias.requires_grad:
        of_bias = of_center.flatten(0, -2).sum(0)
    return (
        matrix_product(of_center, weight) if center.requires_grad else None,
        matrix_product(of_radius, weight.abs()) if radius.requires_grad else None,
        *(of_weight, of_bias),
    )


def _of_weight(upstream: Tensor, operand: Tensor) -> Tensor:
    return matrix_product(upstream.flatten(0, -2).mT, operand.flatten(0, -2))


@differentiated_by(_image_gradient)
def _image(center: Tensor, radius: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return affine(center, weight, bias), affine(radius, weight.abs())


def backward(coefficients: Tensor, x: Interval, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return matrix_product(coefficients, weight)


def gradient(
    upstream: Tensor, coefficients: Tensor, x: Interval, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, None, Tensor | None, None]:
    """Of A W: G W^T for A, and A^T G for W."""
    of_weight = _of_weight(coefficients, upstream) if weight.requires_grad else None
    return matrix_product(upstream, weight.mT), None, of_weight, None


LINEAR = register(
    Operator(
        name="linear",
        forward=forward,
        interval=interval,
        backward=backward,
        gradient=gradient,
        rowwise=lambda *_: True,
        spellings=(F.linear, torch.ops.aten.linear.default),
    )
)
