"""Quotient x / y: linear where y is exact, else the product of x with the reciprocal of y."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from boundgraph.broadcasting import broadcast_checked, scaled
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval
from boundgraph.windows import Windows

aten = torch.ops.aten


def forward(x: Any, y: Any) -> Any:
    return x / y


def interval(x: Interval, y: Any) -> Interval:
    return broadcast_checked(Interval.around(x.center / y, x.radius / abs(y)), x, y)


def backward(coefficients: Tensor | Windows, x: Interval, y: Any) -> Tensor | Windows:
    return scaled(coefficients, x, y, torch.div)


def by_bounded(x: Any, y: Any) -> Any:
    """A quotient whose divisor carries bounds; what is divided may carry bounds too."""
    return x * torch.reciprocal(y)


def _without_rounding(x: Any, y: Any, rounding_mode: str | None = None) -> tuple:
    if rounding_mode is not None:
        raise Refused(f"division with rounding_mode={rounding_mode!r} has no bound rule")
    return x, y


DIV = register(
    Operator(
        name="div",
        forward=forward,
        interval=interval,
        backward=backward,
        windowed=True,
        elementwise=True,
        otherwise=by_bounded,
        spellings=(operator.truediv, operator.itruediv, torch.true_divide, aten.div.Tensor, aten.div_.Tensor,
                   aten.div.Scalar, *((name, _without_rounding) for name in
                                      (torch.div, torch.divide, "div", "div_", "divide"))),
    )
)  # fmt: skip
