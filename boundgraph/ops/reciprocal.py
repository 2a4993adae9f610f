"""Reciprocal, 1 / x: convex for x > 0, concave for x < 0, and without bounds on an interval that contains 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boundgraph.operator import Operator, X, register
from boundgraph.values import Interval, Line, Relaxation

aten = torch.ops.aten


def forward(x: Tensor) -> Tensor:
    return torch.reciprocal(x)


def interval(x: Interval) -> Interval:
    unbounded = _contains_zero(x)
    lower, upper = (torch.reciprocal(end) for end in (x.upper, x.lower))  # it falls on each side of 0
    return Interval(lower.masked_fill(unbounded, -math.inf), upper.masked_fill(unbounded, math.inf))


def relax(x: Interval) -> Relaxation:
    low, high = x
    middle = (low + high) / 2
    # sound: (x - l) (x - u) <= 0 between l and u; divided by l u x, which has the sign of x
    chord = -1 / (low * high), 1 / low + 1 / high
    # sound: (x - m)^2 >= 0; divided by m^2 x
    tangent = -1 / middle.square(), 2 / middle
    right, unbounded = low > 0, _contains_zero(x)

    def line(parts: tuple[tuple[Tensor, Tensor], ...], nothing: float) -> Line:
        slope, intercept = (torch.where(right, *part) for part in parts)
        return Line(slope.masked_fill(unbounded, 0.0), intercept.masked_fill(unbounded, nothing))

    lower, upper = tuple(zip(tangent, chord, strict=True)), tuple(zip(chord, tangent, strict=True))
    return Relaxation(line(lower, -math.inf), line(upper, math.inf))


def _contains_zero(x: Interval) -> Tensor:
    return (x.lower <= 0) & (x.upper >= 0)


RECIPROCAL = register(
    Operator(
        name="reciprocal",
        forward=forward,
        interval=interval,
        relax=relax,
        spellings=(torch.reciprocal, "reciprocal", "reciprocal_", torch.reciprocal_, aten.reciprocal.default),
        definition=1 / X,
    )
)
