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
    unbounded, low, high = _contains_zero(x), *x
    # sound: (x - l) (x - u) <= 0 between l and u; divided by l u x, which has the sign of x
    chord = Line(-1 / (low * high), 1 / low + 1 / high)
    middle = (low + high) / 2
    # sound: (x - m)^2 >= 0; divided by m^2 x
    tangent = Line(-1 / middle.square(), 2 / middle)
    right = low > 0
    lines = zip(tangent, chord, strict=True), zip(chord, tangent, strict=True)
    lower, upper = (Line(*(torch.where(right, *parts) for parts in pairs)) for pairs in lines)
    nothing = low.new_zeros(())
    lower, upper = (
        Line(torch.where(unbounded, nothing, line.slope), torch.where(unbounded, nothing + end, line.intercept))
        for line, end in ((lower, -math.inf), (upper, math.inf))
    )
    return Relaxation(lower, upper)


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
