"""Negation, -x."""

from __future__ import annotations

import operator

import torch
from torch import Tensor

from boundgraph.operator import Operator, register
from boundgraph.values import Interval
from boundgraph.windows import on_values

aten = torch.ops.aten


def forward(x: Tensor) -> Tensor:
    return -x


def interval(x: Interval) -> Interval:
    if x.made_of_ends:  # no digit of an end is lost beside a huge other one
        return Interval(-x.upper, -x.lower)
    return Interval.around(-x.center, x.radius)


@on_values
def backward(coefficients: Tensor, x: Interval) -> Tensor:
    return -coefficients


NEG = register(
    Operator(
        name="neg",
        forward=forward,
        interval=interval,
        backward=backward,
        windowed=True,
        spellings=(operator.neg, torch.neg, torch.negative, "neg", "neg_", "negative", aten.neg.default),
    )
)
