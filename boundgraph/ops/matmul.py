"""Matrix product with a constant matrix on either side."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_same_examples
from boundgraph.errors import GraphError
from boundgraph.linear_forms import aligned, sum_to
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, LinearForm, from_center

aten = torch.ops.aten


def forward(x: Any, y: Any) -> Any:
    return torch.matmul(x, y)


def interval(x: Any, y: Any) -> Interval:
    matrix, bounded = (y, x) if isinstance(x, Interval) else (x, y)
    if matrix.dim() < 2 or bounded.lower.dim() < 2 or (bounded is y and bounded.lower.dim() < 3):
        raise GraphError(
            f"matrix product of {_shape(x)} and {_shape(y)} has no per-example bounds: the bounded operand needs the "
            "batch as dimension 0 beside its matrix dimensions, and the constant must be a matrix"
        )
    if bounded is x:
        result = from_center(x.center @ matrix, x.radius @ matrix.abs())
    else:
        result = from_center(matrix @ y.center, matrix.abs() @ y.radius)
    # a stack of matrices would broadcast the batch, or multiply along it
    if result.lower.dim() != bounded.lower.dim():
        raise GraphError(
            f"matrix product of {_shape(x)} and {_shape(y)} moves the batch dimension of the bounded operand; "
            "unsqueeze it where the new dimension belongs"
        )
    require_same_examples(bounded.lower, result.lower, "matrix product")
    return result


def backward(form: LinearForm, x: Any, y: Any) -> LinearForm:
    if isinstance(x, Interval):
        return LinearForm(sum_to(form.coefficients @ _per_row(y, form).mT, x.shape), form.bias)
    return LinearForm(sum_to(_per_row(x, form).mT @ form.coefficients, y.shape), form.bias)


def _per_row(matrix: Tensor, form: LinearForm) -> Tensor:
    """One matrix serves all examples and rows; a stack of them may have a dimension of examples."""
    return aligned(matrix, form) if matrix.dim() > 2 else matrix


def _shape(operand: Interval | Tensor) -> tuple[int, ...]:
    return tuple(operand.shape)


MATMUL = register(
    Operator(
        name="matmul",
        forward=forward,
        interval=interval,
        backward=backward,
        operands=("x", "y"),
        spellings=(torch.matmul, operator.matmul, "matmul", torch.mm, "mm", torch.bmm, "bmm", aten.matmul.default,
                   aten.mm.default, aten.bmm.default),
    )
)  # fmt: skip
