"""Geometry of lines around scalar functions: kinks, chords, tangents, S-shapes.

For any slope m, the tightest sound intercepts on [l, u] are the extrema of f(x) - m x. They lie at an end or where
f'(x) = m, so a slope may be chosen freely, even by a bisection that stops early: only tightness depends on it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from boundgraph.regions import readable
from boundgraph.values import Interval, Line, Relaxation

Function = Callable[[Tensor], Tensor]

_REMEMBERED = 64  # tables and turned functions

LOWER_SLOPES = ("adaptive", "zero", "one", "same")


def interval_between(function: Function, x: Interval, turning_points: Sequence[float]) -> Interval:
    """Exact range of a continuous function that is monotone between its turning points."""
    ends = function(x.lower), function(x.upper)
    lower, upper = torch.minimum(*ends), torch.maximum(*ends)
    for point in turning_points:
        inside = (x.lower < point) & (point < x.upper)
        value = function(torch.full_like(lower, point))
        lower = torch.where(inside, torch.minimum(lower, value), lower)
        upper = torch.where(inside, torch.maximum(upper, value), upper)
    return Interval(lower, upper)


def kinked(x: Interval, left_slope: float, choice: str) -> Relaxation:
    """Lines around max-like functions: x for x >= 0, left_slope * x for x < 0.

    On the convex side any line through 0 with a slope between the two pieces is sound. `choice` picks it where the
    interval contains the kink: "adaptive" follows the longer side (least area, Zhang et al. 2018), "zero" the left
    piece, "one" the right piece, "same" the chord. Stable neurons are exact under every choice.
    """
    low, high = x.lower.clamp(max=0), x.upper.clamp(min=0)
    width = high - low
    # a stable neuron has low = 0 or high = 0, and the formula gives its own slope with intercept 0
    slope = torch.where(width == 0, 1.0, (high - left_slope * low) / torch.where(width == 0, 1.0, width))
    # sound: the chord through (low, f(low)) and (high, high) lies above a convex, below a concave function
    chord = Line(slope, high * (1 - slope))
    through_zero = Line(_slope_at_kink(low, high, slope, left_slope, choice))
    return Relaxation(through_zero, chord) if left_slope <= 1 else Relaxation(chord, through_zero)


def _slope_at_kink(low: Tensor, high: Tensor, chord: Tensor, left_slope: float, choice: str) -> Tensor:
    if choice == "same":
        return chord
    if choice == "adaptive":
        takes_right = high > -low
    elif choice == "zero":
        takes_right = low == 0
    elif choice == "one":
        takes_right = high > 0
    else:
        raise ValueError(f"unknown lower slope {choice!r}; choose one of {', '.join(LOWER_SLOPES)}")
    return torch.where(takes_right, torch.ones_like(low), left_slope)


def s_shaped(
    function: Function, slope_at: Function, curvature_at: Function, point_with_slope: Function, x: Interval
) -> Relaxation:
    """Lines around a rising function, convex below 0, concave above, whose slope is even.

    slope_at, curvature_at: f' and f''. point_with_slope: the x >= 0 with f'(x) = slope.
    """

    def upper_line(curve: Function, low: Tensor, high: Tensor) -> Line:
        slope = _upper_slope(curve, slope_at, curvature_at, low, high)
        # sound: f(x) - m x is largest at an end or at the point right of 0 where f' = m; clamping that point to the
        # interval yields an end when it lies outside
        with torch.no_grad():
            turn = point_with_slope(slope)
        turn = torch.minimum(torch.maximum(turn, low), high)
        excess = [curve(point) - slope * point for point in (low, high, turn)]
        return Line(slope, torch.maximum(torch.maximum(excess[0], excess[1]), excess[2]))

    below = upper_line(_turned(function), -x.upper, -x.lower)
    # sound: f(x) = -turned(-x) >= -(line above `turned` at -x)
    assert below.intercept is not None
    return Relaxation(Line(below.slope, -below.intercept), upper_line(function, x.lower, x.upper))


@functools.lru_cache(_REMEMBERED)
def _turned(function: Function) -> Function:
    """The function turned about the origin: of the same shape, with the same slopes."""
    return lambda point: -function(-point)


def _upper_slope(function: Function, slope_at: Function, curvature_at: Function, low: Tensor, high: Tensor) -> Tensor:
    """Slope of the upper line: tangent where the function is concave, chord where that lies above, else the tangent
    through the left end."""
    middle_slope = slope_at((low + high) / 2)
    width = high - low
    # below this width the chord's slope is lost in rounding, and the tangent is as good to second order
    narrow = width < torch.finfo(width.dtype).eps ** (1 / 3)
    chord = (function(high) - function(low)) / torch.where(narrow, 1.0, width)
    chord = torch.where(narrow, middle_slope, chord)
    touching = slope_at(_tangent_point(function, slope_at, curvature_at, low, high))
    crosses = (low < 0) & (high > 0) & (slope_at(high) < chord) & ~narrow
    return torch.where(low >= 0, middle_slope, torch.where(crosses, touching, chord))


_BISECTIONS = 24
_FAR = 40.0  # beyond it the slope of every supported S-shape is below float32's resolution of 1


def _tangent_point(function: Function, slope_at: Function, curvature_at: Function, low: Tensor, high: Tensor) -> Tensor:
    """The point right of 0 whose tangent passes through (low, f(low)), for low < 0 < high; anything elsewhere.

    Bisection finds it without gradient; one Newton step adds the gradient that the implicit function theorem gives.
    """
    left = low.clamp(max=0)

    def excess(point: Tensor) -> Tensor:
        return function(point) + slope_at(point) * (left - point) - function(left)

    def change_at(point: Tensor) -> Tensor:  # of the excess; infinite where Newton's step would lead nowhere
        change = curvature_at(point) * (left - point)
        return torch.where(change.abs() < torch.finfo(point.dtype).tiny ** 0.5, torch.inf, change)

    with torch.no_grad():
        if readable(left.detach()):
            far = _tabulated(function, slope_at, left)
            for _ in range(2):
                far = (far - excess(far) / change_at(far)).clamp(0, _FAR)
        else:  # numbers that may not be looked up
            far = _bisected(excess, high.clamp(0, _FAR))
        far = torch.minimum(far, high.clamp(0, _FAR))
        change = change_at(far)
    step = far - excess(far) / change
    return torch.minimum(torch.maximum(step, torch.zeros_like(step)), high.clamp(min=0))


def _bisected(excess: Function, far: Tensor) -> Tensor:
    """The zero of a rising function in [0, far], or far."""
    near = torch.zeros_like(far)
    for _ in range(_BISECTIONS):
        middle = (near + far) / 2
        above = excess(middle) >= 0
        near, far = torch.where(above, near, middle), torch.where(above, middle, far)
    return far


_GRID, _FARTHEST = 1024, math.log1p(1e5)


def _tabulated(function: Function, slope_at: Function, left: Tensor) -> Tensor:
    """The tangent point of the line from each left end, out of a table over log(1 - left); to about 1e-4."""
    table = _tangent_table(function, slope_at, left.dtype)
    place = (torch.log1p(-left) * ((_GRID - 1) / _FARTHEST)).clamp(0, _GRID - 1)
    index = place.nan_to_num().long().clamp(max=_GRID - 2)
    return torch.lerp(table[index], table[index + 1], place - index)


@functools.lru_cache(_REMEMBERED)
def _tangent_table(function: Function, slope_at: Function, dtype: torch.dtype) -> Tensor:
    left = -torch.expm1(torch.linspace(0, _FARTHEST, _GRID, dtype=torch.float64))
    points = _bisected(
        lambda point: function(point) + slope_at(point) * (left - point) - function(left),
        torch.full_like(left, _FAR),
    )
    return points.to(dtype)
