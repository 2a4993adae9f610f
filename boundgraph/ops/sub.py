"""Difference of two operands, x - alpha y; either or both may carry bounds."""

from __future__ import annotations

import operator
from typing import Any

import torch

from boundgraph.linear_forms import affine_combination, broadcast_checked
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, LinearForm, lower_of, upper_of

aten = torch.ops.aten


def forward(x: Any, y: Any, alpha: float = 1) -> Any:
    return x - (y if alpha == 1 else alpha * y)


def interval(x: Any, y: Any, alpha: float = 1) -> Interval:
    low, high = (lower_of(y), upper_of(y)) if alpha >= 0 else (upper_of(y), lower_of(y))
    return broadcast_checked(Interval(forward(lower_of(x), high, alpha), forward(upper_of(x), low, alpha)), x, y)


def backward(form: LinearForm, x: Any, y: Any, alpha: float = 1) -> LinearForm | tuple[LinearForm, ...]:
    return affine_combination(form, (x, 1), (y, -alpha))


def _reversed(x: Any, y: Any, alpha: float = 1) -> tuple:
    return (y, x, 1) if alpha == 1 else (y, x, alpha)


SUB = register(
    Operator(
        name="sub",
        forward=forward,
        interval=interval,
        backward=backward,
        operands=("x", "y"),
        joint=True,
        spellings=(operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract", aten.sub.Tensor,
                   aten.sub_.Tensor, aten.sub.Scalar, (torch.rsub, _reversed), (aten.rsub.Scalar, _reversed),
                   (aten.rsub.Tensor, _reversed)),
    )
)  # fmt: skip
