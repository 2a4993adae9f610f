"""ReLU, max(x, 0): convex, one kink. The lower slope of an unstable neuron is free in [0, 1]."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.declared import differentiated_by
from boundgraph.linear_forms import summed_to
from boundgraph.operator import Operator, X, register
from boundgraph.relaxations import kinked, or_one, positive
from boundgraph.values import Interval, Line, Relaxation

aten = torch.ops.aten
threshold_backward = aten.threshold_backward


def forward(x: Tensor) -> Tensor:
    return torch.relu(x)


def interval(x: Interval) -> Interval:
    if x.made_of_ends:
        return Interval(torch.relu(x.lower), torch.relu(x.upper))
    return Interval.around(*_cut(x.center, x.radius))


def _cut_gradient(upstream: list[Tensor], _: Any, center: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """An end passes on what arrives at it where it is positive."""
    of_center, of_radius = upstream
    of_lower = threshold_backward(of_center - of_radius, center - radius, 0)
    of_upper = threshold_backward(of_center + of_radius, center + radius, 0)
    middle = torch.lerp(of_lower, of_upper, 0.5)
    return middle, summed_to(of_upper.sub_(middle), radius)


@differentiated_by(_cut_gradient)
def _cut(center: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and radius of the values cut at 0."""
    lower, upper = torch.relu(center - radius), torch.relu(center + radius)
    middle = torch.lerp(lower, upper, 0.5)
    return middle, upper - middle


def relax(x: Interval, slope: str = "adaptive") -> Relaxation:
    return kinked(x, left_slope=0.0, choice=slope)


def centred(y: Interval, x: Interval, slope: str = "adaptive") -> Relaxation:
    """The chord passes through the centres; the line below, slope s, by s (l + u) / 2 - u / 2 under them, with l and u
    cut at 0. For the slopes 0 and 1 that is -u / 2 and l / 2, and "adaptive" takes the larger."""
    if slope == "same":
        low, high = x.lower.clamp(max=0), x.upper.relu()
        chord = high / _divisor(low, high)
        return Relaxation(Line(chord, chord * low), Line(chord))
    right = 1 - positive(-x.lower) if slope == "zero" else positive(x.center if slope == "adaptive" else x.upper)
    if x.made_of_ends:
        below, chord = _lines_between(x.lower, x.upper, right)
    else:
        below, chord = _lines_around(x.center, x.radius, right)
    return Relaxation(Line(right, below), Line(chord))


def _lines_gradient(
    upstream: list[Tensor], results: tuple[Tensor, ...], center: Tensor, radius: Tensor, right: Tensor
) -> tuple[Tensor, Tensor, None]:
    """Of u / (u - l): (1 - chord) / (u - l) for u and chord / (u - l) for l."""
    (of_below, of_chord), (_, chord) = upstream, results
    lower, upper = center - radius, center + radius
    through, of_right = of_chord / _divisor(lower.clamp(max=0), upper.relu()), of_below * right
    of_low = (through * chord).add_(of_right, alpha=0.5)
    of_high = through.sub_(of_below, alpha=0.5).add_(of_right).sub_(of_low)
    of_lower = of_low.sub_(threshold_backward(of_low, lower, 0))
    of_upper = threshold_backward(of_high, upper, 0)
    return of_lower + of_upper, summed_to(of_upper.sub_(of_lower), radius), None


@differentiated_by(_lines_gradient)
def _lines_around(center: Tensor, radius: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    return _lines_between(center - radius, center + radius, right)


def _lines_between(lower: Tensor, upper: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The intercept of the line below with slope `right`, 0 or 1, and the slope of the chord."""
    low, high = lower.clamp(max=0), torch.relu(upper)
    return (right * (low + high) - high) * 0.5, high / _divisor(low, high)


def _divisor(low: Tensor, high: Tensor) -> Tensor:
    """high - low, and 1 for a single point: there any slope will do."""
    return or_one(high - low)


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
