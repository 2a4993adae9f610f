"""Difference of two operands, x - alpha y; either or both may carry bounds."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from boundgraph.broadcasting import Combined, broadcast_checked, combined
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, center_of, radius_of
from boundgraph.windows import Windows

aten = torch.ops.aten


def forward(x: Any, y: Any, alpha: float = 1) -> Any:
    return x - (y if alpha == 1 else alpha * y)


def interval(x: Any, y: Any, alpha: float = 1) -> Interval:
    center = forward(center_of(x), center_of(y), alpha)
    radii = [part for part in (radius_of(x), radius_of(y, abs(alpha))) if part is not None]
    return broadcast_checked(Interval.around(center, sum(radii[1:], radii[0])), x, y)


def backward(coefficients: Tensor | Windows, x: Any, y: Any, alpha: float = 1) -> Combined:
    return combined(coefficients, (x, 1), (y, -alpha))


def _reversed(x: Any, y: Any, alpha: float = 1) -> tuple:
    return (y, x, 1) if alpha == 1 else (y, x, alpha)


SUB = register(
    Operator(
        name="sub",
        forward=forward,
        interval=interval,
        backward=backward,
        windowed=True,
        operands=("x", "y"),
        elementwise=True,
        joint=True,
        spellings=(operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract", aten.sub.Tensor,
                   aten.sub_.Tensor, aten.sub.Scalar, (torch.rsub, _reversed), (aten.rsub.Scalar, _reversed),
                   (aten.rsub.Tensor, _reversed)),
    )
)  # fmt: skip
