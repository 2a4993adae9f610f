"""Square, x^2: convex, one turning point."""

from __future__ import annotations

import torch
from torch import Tensor

from boundgraph.operator import Operator, X, register
from boundgraph.relaxations import interval_between
from boundgraph.values import Interval, Line, Relaxation

aten = torch.ops.aten


def forward(x: Tensor) -> Tensor:
    return torch.square(x)


def interval(x: Interval) -> Interval:
    return interval_between(torch.square, x, (0.0,))


def relax(x: Interval) -> Relaxation:
    slope = x.lower + x.upper
    # sound: (x - l) (x - u) <= 0 between l and u
    chord = Line(slope, -x.lower * x.upper)
    # sound: (x - m)^2 >= 0, and any m will do
    return Relaxation(Line(slope, -(slope / 2).square()), chord)


SQUARE = register(
    Operator(
        name="square",
        forward=forward,
        interval=interval,
        relax=relax,
        spellings=(torch.square, "square", "square_", torch.square_, aten.square.default),
        definition=X**2,
    )
)
