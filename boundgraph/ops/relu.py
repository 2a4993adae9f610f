"""ReLU, max(x, 0): convex, one kink. The lower slope of an unstable neuron is free in [0, 1]."""

from __future__ import annotations

import sympy
import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Operator, X, register
from boundgraph.relaxations import kinked
from boundgraph.values import Interval, Relaxation

aten = torch.ops.aten


def forward(x: Tensor) -> Tensor:
    return torch.relu(x)


def interval(x: Interval) -> Interval:
    return Interval(torch.relu(x.lower), torch.relu(x.upper))


def relax(x: Interval, slope: str = "adaptive") -> Relaxation:
    return kinked(x, left_slope=0.0, choice=slope)


def unstable(x: Interval) -> Tensor:
    return (x.lower < 0) & (x.upper > 0)


RELU = register(
    Operator(
        name="relu",
        forward=forward,
        interval=interval,
        relax=relax,
        unstable=unstable,
        spellings=(torch.relu, F.relu, "relu", "relu_", torch.relu_, aten.relu.default, aten.relu_.default),
        definition=sympy.Max(X, 0),
    )
)
