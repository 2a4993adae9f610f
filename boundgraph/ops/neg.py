"""Negation, -x."""

from __future__ import annotations

import operator

import torch
from torch import Tensor

from boundgraph.operator import Operator, register
from boundgraph.values import Interval, LinearForm

aten = torch.ops.aten


def forward(x: Tensor) -> Tensor:
    return -x


def interval(x: Interval) -> Interval:
    return Interval(-x.upper, -x.lower)


def backward(form: LinearForm, x: Interval) -> LinearForm:
    return LinearForm(-form.coefficients, form.bias)


NEG = register(
    Operator(
        name="neg",
        forward=forward,
        interval=interval,
        backward=backward,
        spellings=(operator.neg, torch.neg, torch.negative, "neg", "neg_", "negative", aten.neg.default),
    )
)
