"""Quotient by a constant, x / y with y exact."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from boundgraph.linear_forms import aligned, broadcast_checked, sum_to
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Any, y: Any) -> Any:
    return x / y


def interval(x: Interval, y: Any) -> Interval:
    return broadcast_checked(Interval.around(x.center / y, x.radius / abs(y)), x, y)


def backward(coefficients: Tensor, x: Interval, y: Any) -> Tensor:
    # not times 1 / y, which for an integer tensor y has the default dtype
    divisor = aligned(y, coefficients) if isinstance(y, Tensor) else y
    return sum_to(coefficients / divisor, x.shape)


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
        spellings=(operator.truediv, operator.itruediv, torch.true_divide, aten.div.Tensor, aten.div_.Tensor,
                   aten.div.Scalar, *((name, _without_rounding) for name in
                                      (torch.div, torch.divide, "div", "div_", "divide"))),
    )
)  # fmt: skip
