"""Geometry of lines around scalar functions: kinks, chords, tangents, S-shapes.

For any slope m, the tightest sound intercepts on [l, u] are the extrema of f(x) - m x. They lie at an end or where
f'(x) = m, so a slope may be chosen freely, even by a bisection that stops early: only tightness depends on it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from boundgraph.declared import differentiated_by
from boundgraph.regions import readable
from boundgraph.values import Interval, Line, Relaxation

Function = Callable[[Tensor], Tensor]

_REMEMBERED = 64  # tables and turned functions

LOWER_SLOPES = ("adaptive", "zero", "one", "same")


def positive(x: Tensor) -> Tensor:
    """1 where x > 0, else 0. In place and in x's own dtype: bool results are no fast loops on CPUs."""
    return x.detach().clone().gt_(0)


def or_one(width: Tensor) -> Tensor:
    """The width, and 1 in place of 0: what is divided by it is 0 there too, or is not taken."""
    return width + width.detach().clone().eq_(0)


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


def kinked(x: Interval, left_slope: float | Tensor, choice: str) -> Relaxation:
    """Lines around max-like functions: x for x >= 0, left_slope * x for x < 0; a tensor broadcasts against x.

    On the convex side any line through 0 with a slope between the two pieces is sound. `choice` picks it where the
    interval contains the kink: "adaptive" follows the longer side (least area, Zhang et al. 2018), "zero" the left
    piece, "one" the right piece, "same" the chord. Stable neurons are exact under every choice.
    """
    low, high = x.lower.clamp(max=0), x.upper.clamp(min=0)
    width = high - low
    # a stable neuron has low = 0 or high = 0, and the formula gives its own slope with intercept 0
    slope = torch.where(width == 0, 1.0, (high - left_slope * low) / torch.where(width == 0, 1.0, width))
    # sound: the chord through (low, f(low)) and (high, high) lies above a convex, below a concave function
    above_zero = high * (1 - slope)
    chord, through_zero = Line(slope, above_zero), Line(_slope_at_kink(low, high, slope, left_slope, choice))
    if not isinstance(left_slope, Tensor):
        return Relaxation(through_zero, chord) if left_slope <= 1 else Relaxation(chord, through_zero)
    # sound: each is convex or concave for itself; for a NaN slope neither line is a number
    convex, undecided = left_slope <= 1, 0 * left_slope
    one, other, nothing = through_zero.slope + undecided, slope + undecided, torch.zeros_like(above_zero)
    return Relaxation(
        Line(torch.where(convex, one, other), torch.where(convex, nothing, above_zero)),
        Line(torch.where(convex, other, one), torch.where(convex, above_zero, nothing)),
    )


def _slope_at_kink(low: Tensor, high: Tensor, chord: Tensor, left_slope: float | Tensor, choice: str) -> Tensor:
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


class Shape(NamedTuple):
    """A rising function, convex below 0, concave above, whose slope is even."""

    function: Function
    slope_at: Function
    curvature_at: Function
    point_with_slope: Function


def s_shaped(
    function: Function, slope_at: Function, curvature_at: Function, point_with_slope: Function, x: Interval
) -> Relaxation:
    """Lines around a rising function, convex below 0, concave above, whose slope is even.

    slope_at, curvature_at: f' and f''. point_with_slope: the x >= 0 with f'(x) = slope.
    """
    shape = Shape(function, slope_at, curvature_at, point_with_slope)
    slope, intercept, *_ = _upper_line(shape, x.lower, x.upper)
    below, under, *_ = _upper_line(shape._replace(function=_turned(function)), -x.upper, -x.lower)
    # sound: f(x) = -turned(-x) >= -(line above `turned` at -x)
    return Relaxation(Line(below, -under), Line(slope, intercept))


@functools.lru_cache(_REMEMBERED)
def _turned(function: Function) -> Function:
    """The function turned about the origin: of the same shape, with the same slopes."""
    return lambda point: -function(-point)


def _upper_line_gradient(
    upstream: list[Tensor], results: tuple[Tensor, ...], shape: Shape, low: Tensor, high: Tensor
) -> tuple[None, Tensor, Tensor]:
    """The intercept, f - slope x at its largest, moves with the slope and with the end at which that is (envelope
    theorem). So does the slope: as that of a secant, of which a tangent through the left end is the steepest."""
    (of_slope, of_intercept, *_), (slope, _, anchor, touch) = upstream, results
    flat, width = anchor.sub((low + high) * 0.5).eq_(0), high - low
    bend = shape.curvature_at((low + high) * 0.5) * 0.5
    beyond_low, beyond_high = slope - shape.slope_at(low), shape.slope_at(high) - slope
    by_low = torch.lerp(beyond_low / (anchor - low + flat), bend, flat)
    by_high = torch.lerp(beyond_high.relu() / (width + flat), bend, flat)
    of_slope = torch.addcmul(of_slope, of_intercept, touch, value=-1)
    at_low, at_high = ((touch - end).eq_(0).mul_(of_intercept) for end in (low, high))
    return (
        None,
        of_slope.mul(by_low).addcmul_(at_low, beyond_low, value=-1),
        of_slope.mul(by_high).addcmul_(at_high, beyond_high),
    )


@differentiated_by(_upper_line_gradient)
def _upper_line(shape: Shape, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
    """The line's slope and intercept, the point that gives the slope, and the point where the line touches.

    Slope: of the tangent in the middle where that lies above, as it does where the function is concave; of the chord
    where that does; else of the tangent through the left end. So the line is lowest in the middle, and the area least.
    """
    at_low, at_high, tangent = shape.function(low), shape.function(high), _tangent_point(shape, low)
    # sound: a tangent right of the one through the left end passes above that end
    flat = torch.maximum(_takes_middle(low, high), positive((low + high) * 0.5 - tangent))
    chord = (at_high - at_low) / (high - low + flat)
    curved = torch.maximum(flat, positive(chord - shape.slope_at(high)))
    anchor = torch.lerp(torch.minimum(tangent, high), (low + high) * 0.5, flat)
    slope = torch.lerp(chord, shape.slope_at(anchor), curved)
    # sound: f(x) - m x is largest at an end or at the point right of 0 where f' = m; clamping that point to the
    # interval yields an end when it lies outside
    with torch.no_grad():
        turn = shape.point_with_slope(slope)
    turn = torch.minimum(torch.maximum(turn, low), high)
    from_low, from_high = at_low - slope * low, at_high - slope * high
    from_turn = shape.function(turn) - slope * turn
    touch = torch.lerp(high, turn, positive(from_turn - from_high))
    intercept = torch.maximum(from_turn, from_high)
    touch = torch.lerp(touch, low, positive(from_low - intercept))
    return slope, torch.maximum(from_low, intercept), anchor.detach(), touch.detach()


def _takes_middle(low: Tensor, high: Tensor) -> Tensor:
    """1 where the line is the tangent in the middle: on the concave side, and on a width below which the chord's slope
    is lost in rounding, and the tangent as good to second order."""
    least = torch.finfo(low.dtype).eps ** (1 / 3)
    return torch.maximum(positive(low - high + least), low.detach().clone().ge_(0))


_FAR = 40.0  # beyond it the slope of every supported S-shape is below float32's resolution of 1
_BISECTIONS = 24


def _tangent_point(shape: Shape, low: Tensor) -> Tensor:
    """The point right of 0 whose tangent passes through (low, f(low)), for low < 0; anything elsewhere.

    Newton's steps find it without gradient; one more adds the gradient that the implicit function theorem gives.
    """
    function, slope_at, curvature_at, _ = shape
    left = low.clamp(max=0)

    def excess(point: Tensor) -> Tensor:
        return function(point) + slope_at(point) * (left - point) - function(left)

    def change_at(point: Tensor) -> Tensor:  # of the excess; huge where Newton's step would lead nowhere
        change, kind = curvature_at(point) * (left - point), torch.finfo(point.dtype)
        return change + positive(kind.tiny**0.5 - change.abs()) * kind.max

    with torch.no_grad():
        if readable(left.detach()):
            far = _tabulated(function, slope_at, left)
        else:  # numbers that may not be looked up
            far = _bisected(excess, torch.full_like(left, _FAR))
        # to 1e-4; each step squares that
        for _ in range(1 if torch.finfo(left.dtype).eps > 1e-8 else 2):
            far = (far - excess(far) / change_at(far)).clamp(0, _FAR)
        change = change_at(far)
    if not (torch.is_grad_enabled() and left.requires_grad):
        return far
    return (far - excess(far) / change).clamp(min=0)


def _bisected(excess: Function, far: Tensor) -> Tensor:
    """The zero of a rising function in [0, far], or far."""
    near = torch.zeros_like(far)
    for _ in range(_BISECTIONS):
        middle = (near + far) / 2
        above = excess(middle) >= 0
        near, far = torch.where(above, near, middle), torch.where(above, middle, far)
    return far


_GRID, _FARTHEST = 2**16, math.log1p(1e5)


def _tabulated(function: Function, slope_at: Function, left: Tensor) -> Tensor:
    """The tangent point of the line from each left end, out of a table over log(1 - left); to about 1e-4."""
    place = torch.log1p(-left) * ((_GRID - 1) / _FARTHEST) + 0.5
    return _tangent_table(function, slope_at, left.dtype)[place.nan_to_num().clamp(0, _GRID - 1).long()]


@functools.lru_cache(_REMEMBERED)
def _tangent_table(function: Function, slope_at: Function, dtype: torch.dtype) -> Tensor:
    left = -torch.expm1(torch.linspace(0, _FARTHEST, _GRID, dtype=torch.float64))
    points = _bisected(
        lambda point: function(point) + slope_at(point) * (left - point) - function(left),
        torch.full_like(left, _FAR),
    )
    return points.to(dtype)
