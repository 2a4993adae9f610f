"""Matrix product with a constant matrix on either side."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_same_examples
from boundgraph.broadcasting import aligned, sum_to
from boundgraph.errors import GraphError
from boundgraph.operator import Operator, register
from boundgraph.ops import matrix_product
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Any, y: Any) -> Any:
    return torch.matmul(x, y)


def interval(x: Any, y: Any) -> Interval:
    matrix, bounded = (y, x) if isinstance(x, Interval) else (x, y)
    if matrix.dim() < 2 or len(bounded.shape) < 2 or (bounded is y and len(bounded.shape) < 3):
        raise GraphError(
            f"matrix product of {_shape(x)} and {_shape(y)} has no per-example bounds: the bounded operand needs the "
            "batch as dimension 0 beside its matrix dimensions, and the constant must be a matrix"
        )
    if bounded is x:
        result = Interval.around(x.center @ matrix, x.radius @ matrix.abs())
    else:
        result = Interval.around(matrix @ y.center, matrix.abs() @ y.radius)
    # a stack of matrices would broadcast the batch, or multiply along it
    if len(result.shape) != len(bounded.shape):
        raise GraphError(
            f"matrix product of {_shape(x)} and {_shape(y)} moves the batch dimension of the bounded operand; "
            "unsqueeze it where the new dimension belongs"
        )
    require_same_examples(bounded.center, result.center, "matrix product")
    return result


def backward(coefficients: Tensor, x: Any, y: Any) -> Tensor:
    if isinstance(x, Interval):
        return sum_to(coefficients @ _per_row(y, coefficients).mT, x.shape)
    return sum_to(_per_row(x, coefficients).mT @ coefficients, y.shape)


def _per_row(matrix: Tensor, coefficients: Tensor) -> Tensor:
    """One matrix serves all examples and rows; a stack of them may have a dimension of examples."""
    return aligned(matrix, coefficients) if matrix.dim() > 2 else matrix


def _shape(operand: Interval | Tensor) -> tuple[int, ...]:
    return tuple(operand.shape)


MATMUL = register(
    Operator(
        name="matmul",
        forward=forward,
        interval=interval,
        backward=backward,
        operands=("x", "y"),
        otherwise=matrix_product.forward,
        spellings=(torch.matmul, torch.linalg.matmul, operator.matmul, "matmul", torch.mm, "mm", torch.bmm, "bmm",
                   aten.matmul.default, aten.mm.default, aten.bmm.default),
    )
)  # fmt: skip
