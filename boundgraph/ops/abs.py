"""Absolute value, max(x, -x): convex, one kink, where it turns."""

from __future__ import annotations

import operator

import sympy
import torch
from torch import Tensor

from boundgraph.operator import Operator, X, register
from boundgraph.relaxations import interval_between, kinked
from boundgraph.values import Interval, Relaxation

aten = torch.ops.aten


def forward(x: Tensor) -> Tensor:
    return torch.abs(x)


def interval(x: Interval) -> Interval:
    return interval_between(torch.abs, x, turning_points=(0.0,))


def relax(x: Interval, slope: str = "adaptive") -> Relaxation:
    return kinked(x, left_slope=-1.0, choice=slope)


def unstable(x: Interval) -> Tensor:
    return (x.lower < 0) & (x.upper > 0)


ABS = register(
    Operator(
        name="abs",
        forward=forward,
        interval=interval,
        relax=relax,
        unstable=unstable,
        spellings=(torch.abs, torch.absolute, "abs", "abs_", "absolute", operator.abs, aten.abs.default),
        definition=sympy.Abs(X),
    )
)
