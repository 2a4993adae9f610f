"""Matrix product of two operands that both carry bounds, as in attention. With a constant it is `matmul`."""

from __future__ import annotations

import torch
from torch import Tensor

from boundgraph import bilinear
from boundgraph.batch import require_same_examples
from boundgraph.bilinear import Products
from boundgraph.broadcasting import sum_to
from boundgraph.errors import GraphError
from boundgraph.operator import Operator, register
from boundgraph.values import Interval


def forward(x: Tensor, y: Tensor) -> Tensor:
    return torch.matmul(x, y)


def interval(x: Interval, y: Interval) -> Interval:
    if len(x.shape) != len(y.shape) or len(x.shape) < 3:
        raise GraphError(
            f"matrix product of bounded values of shapes {tuple(x.shape)} and {tuple(y.shape)} has no per-example "
            "bounds: both need the batch as dimension 0 before their matrix dimensions; unsqueeze what has fewer"
        )
    result = bilinear.interval_of_sum(x, y, torch.matmul)
    for operand in (x, y):
        require_same_examples(operand.center, result.center, "matrix product")
    return result


def relax(x: Interval, y: Interval) -> Products:
    return bilinear.relaxed(x, y, torch.matmul)


def through(coefficients: Tensor, products: Products) -> tuple[tuple[Tensor, ...], Tensor]:
    def to_x(form: Tensor, y: Tensor) -> Tensor:
        return sum_to(form @ y.mT.unsqueeze(1), products.x.center.shape)

    def to_y(form: Tensor, x: Tensor) -> Tensor:
        return sum_to(x.mT.unsqueeze(1) @ form, products.y.center.shape)

    return bilinear.through(coefficients, products, to_x, to_y)


MATRIX_PRODUCT = register(
    Operator(
        name="matrix_product",
        forward=forward,
        interval=interval,
        relax=relax,
        through=through,
        operands=("x", "y"),
        joint=True,
        exact=False,
    )
)
