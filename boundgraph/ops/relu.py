"""ReLU, max(x, 0): convex, one kink. The lower slope of an unstable neuron is free in [0, 1]."""

from __future__ import annotations

import sympy
import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Operator, X, register
from boundgraph.relaxations import kinked
from boundgraph.values import Interval, Line, Relaxation

aten = torch.ops.aten


def forward(x: Tensor) -> Tensor:
    return torch.relu(x)


def interval(x: Interval) -> Interval:
    return Interval(torch.relu(x.lower), torch.relu(x.upper))


def relax(x: Interval, slope: str = "adaptive") -> Relaxation:
    return kinked(x, left_slope=0.0, choice=slope)


def centred(y: Interval, x: Interval, slope: str = "adaptive") -> Relaxation:
    """The chord passes through the centres; the line below, slope s, by s (l + u) / 2 - u / 2 under them, with l and u
    cut at 0. For the slopes 0 and 1 that is -u / 2 and l / 2, and "adaptive" takes the larger."""
    low, high = x.lower - y.lower, y.upper
    width = high - low
    chord = high / width.masked_fill(width == 0, 1)  # any slope will do for a single point
    if slope == "same":
        return Relaxation(Line(chord, chord * low), Line(chord))
    right = {"adaptive": x.center > 0, "zero": low == 0, "one": high > 0}[slope].to(high)
    return Relaxation(Line(right, (right * (low + high) - high) * 0.5), Line(chord))


def unstable(x: Interval) -> Tensor:
    return (x.lower < 0) & (x.upper > 0)


RELU = register(
    Operator(
        name="relu",
        forward=forward,
        interval=interval,
        relax=relax,
        centred=centred,
        unstable=unstable,
        spellings=(torch.relu, F.relu, "relu", "relu_", torch.relu_, aten.relu.default, aten.relu_.default),
        definition=sympy.Max(X, 0),
    )
)
