"""Product with a constant: one operand carries bounds, the other is exact."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from boundgraph.broadcasting import broadcast_checked, scaled
from boundgraph.operator import Operator, applied, register
from boundgraph.ops import product
from boundgraph.values import Interval
from boundgraph.windows import Windows

aten = torch.ops.aten


def forward(x: Any, y: Any) -> Any:
    return x * y


def interval(x: Any, y: Any) -> Interval:
    bounded, constant = _sorted(x, y)
    # exact: a constant of either sign maps the centre to the centre and stretches the radius by its size
    return broadcast_checked(Interval.around(bounded.center * constant, bounded.radius * abs(constant)), x, y)


def backward(coefficients: Tensor | Windows, x: Any, y: Any) -> Tensor | Windows:
    return scaled(coefficients, *_sorted(x, y))


def of_bounded(x: Any, y: Any) -> Any:
    """A product of two operands with bounds; that of a value with itself is a function of that value."""
    return torch.square(x) if x is y else applied(product.forward, x, y)


def _sorted(x: Any, y: Any) -> tuple[Interval, Any]:
    return (x, y) if isinstance(x, Interval) else (y, x)


MUL = register(
    Operator(
        name="mul",
        forward=forward,
        interval=interval,
        backward=backward,
        windowed=True,
        operands=("x", "y"),
        elementwise=True,
        otherwise=of_bounded,
        spellings=(operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply", aten.mul.Tensor,
                   aten.mul_.Tensor, aten.mul.Scalar),
    )
)  # fmt: skip
