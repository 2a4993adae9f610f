"""Sum of two operands, x + alpha y; either or both may carry bounds."""

from __future__ import annotations

import operator
from typing import Any

import torch

from boundgraph.linear_forms import affine_combination, broadcast_checked
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, LinearForm, lower_of, upper_of

aten = torch.ops.aten


def forward(x: Any, y: Any, alpha: float = 1) -> Any:
    return x + (y if alpha == 1 else alpha * y)


def interval(x: Any, y: Any, alpha: float = 1) -> Interval:
    low, high = (lower_of(y), upper_of(y)) if alpha >= 0 else (upper_of(y), lower_of(y))
    return broadcast_checked(Interval(forward(lower_of(x), low, alpha), forward(upper_of(x), high, alpha)), x, y)


def backward(form: LinearForm, x: Any, y: Any, alpha: float = 1) -> LinearForm | tuple[LinearForm, ...]:
    return affine_combination(form, (x, 1), (y, alpha))


ADD = register(
    Operator(
        name="add",
        forward=forward,
        interval=interval,
        backward=backward,
        operands=("x", "y"),
        joint=True,
        spellings=(operator.add, operator.iadd, torch.add, "add", "add_", aten.add.Tensor, aten.add_.Tensor,
                   aten.add.Scalar),
    )
)  # fmt: skip
