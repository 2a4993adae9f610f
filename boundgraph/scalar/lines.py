"""Interval and lines of a scalar function from its shape.

For every slope k the tightest intercepts on [l, u] are the extrema of h(x) = f(x) - k x. On a piece where f is concave,
h lies below each of its tangents, so with any t on the piece h(x) <= h(t) + h'(t) (x - t): an upper bound without a
root that had to be found, and the maximum itself if h'(t) = 0. Elsewhere h is largest at an end, a kink or a jump. So
slopes and touching points may come from tables; only tightness depends on them.
"""

from __future__ import annotations

import functools
import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from boundgraph.errors import DomainError
from boundgraph.regions import readable
from boundgraph.relaxations import positive
from boundgraph.scalar.inverse import InverseSlope
from boundgraph.scalar.shape import Curved, Shape, into
from boundgraph.scalar.tables import SlopeTable
from boundgraph.values import Interval, Line, Relaxation


class Rules:
    """What an operator needs, derived from a shape: `interval`, `relax`, `unstable`.

    period: of a periodic function, whose shape is that on two periods from 0 on; points of it are meant up to a shift.
    """

    def __init__(self, shape: Shape, period: float | None = None) -> None:
        self.shape, self.period = shape, period
        self.inverses = tuple(InverseSlope(piece) for piece in shape.curved)

    @cached_property
    def pole_at_zero(self) -> bool:
        """Whether the domain begins at 0 with a pole, where floats have two zeros and the function two infinities."""
        values = self.shape.function(torch.tensor([0.0, -0.0], dtype=torch.float64))
        return self.shape.domain[0] == 0 and bool(values.isinf().all()) and bool(values[0] != values[1])

    def interval(self, x: Interval) -> Interval:
        """The exact range; all numbers where a pole is touched, since the two zeros of floats have different values."""
        found = self._range(x)
        if not self.pole_at_zero:
            return found
        touched = x.lower <= 0
        return Interval(found.lower.masked_fill(touched, -math.inf), found.upper.masked_fill(touched, math.inf))

    def _range(self, x: Interval) -> Interval:
        """The function is monotone between the points at which it is looked at."""
        shape, at_low, at_high = self.shape, self.shape.function(x.lower), self.shape.function(x.upper)
        shift = self.shift(x.lower)
        if shape.rising is not None:
            return Interval(at_low, at_high) if shape.rising else Interval(at_high, at_low)
        lower, upper = torch.minimum(at_low, at_high), torch.maximum(at_low, at_high)
        for point in shape.minima:
            lower = torch.minimum(lower, shape.function(_clamped(point + shift, x.lower, x.upper)))
        for point in shape.maxima:
            upper = torch.maximum(upper, shape.function(_clamped(point + shift, x.lower, x.upper)))
        for value, _, met in self._limits(x.lower, x.upper, shift):
            lower = torch.where(met, lower.clamp(max=value), lower)
            upper = torch.where(met, upper.clamp(min=value), upper)
        if self.period is None:
            return Interval(lower, upper)
        far, (least, most) = self._far(x.lower, x.upper), self._whole_range
        return Interval(torch.where(far, least, lower), torch.where(far, most, upper))

    def _far(self, low: Tensor, high: Tensor) -> Tensor:
        """Intervals so far out that a period is but 1e4 floats wide: beyond, the places of turns get lost in rounding,
        and with them more than rounding of the values."""
        assert self.period is not None
        spacing = torch.maximum(low.abs(), high.abs()) * torch.finfo(low.dtype).eps
        return (spacing > 1e-4 * self.period) & (high > low)

    @cached_property
    def _whole_range(self) -> tuple[float, float]:
        """Of a periodic function."""
        turns = torch.tensor([*self.shape.minima, *self.shape.maxima], dtype=torch.float64)
        values = self.shape.function(turns)
        return (-math.inf, math.inf) if self.shape.jumps else (float(values.min()), float(values.max()))

    def within_domain(self, x: Interval, name: str) -> Interval:
        """The operand, if the function has values on all of it; NaN where it has not and numbers may not be looked at.

        Raises:
            DomainError: says where the function has values.
        """
        start, end = self.shape.domain
        if self.period is not None or (math.isinf(start) and math.isinf(end)):
            return x
        outside = (x.lower < start) | (x.upper > end)
        if not readable(outside):
            return Interval(*(side.masked_fill(outside, math.nan) for side in x))
        if bool(outside.any()):
            low, high = x.lower.min().item(), x.upper.max().item()
            limits = [f"x >= {start:g}"] * math.isfinite(start) + [f"x <= {end:g}"] * math.isfinite(end)
            raise DomainError(
                f"{name} has real values for {' and '.join(limits)}, but the bounds of its operand range from "
                f"{low:.4g} to {high:.4g}. Where the operand itself stays inside, clamp it or use a tighter method"
            )
        return x

    def shift(self, low: Tensor) -> Tensor | float:
        """By how much the shape is moved so that its first period holds the lower end."""
        if self.period is None:
            return 0.0
        return ((low.detach() - self.shape.domain[0]) / self.period).floor() * self.period

    def _limits(self, low: Tensor, high: Tensor, shift: Tensor | float) -> list[tuple[float, Any, Tensor]]:
        """The limits at jumps, where these are, and which intervals hold points that come close to them."""
        found: list[tuple[float, Any, Tensor]] = []
        for jump in self.shape.jumps:
            at = jump.at + shift
            before, after = (low < at) & (at <= high), (low <= at) & (at < high)
            if math.isinf(jump.left) or math.isinf(jump.right):  # -0 lies at the other side of a pole at 0
                before = after = (low <= at) & (at <= high)
            if self.period is not None:
                # sound: the shift is rounded, and with it the place of the pole; but a function that rises between its
                # poles falls from end to end, if and only if a pole lies between ends less than a period apart
                across = (self.shape.function(high) < self.shape.function(low)) | (high - low >= self.period)
                before, after = before | across, after | across
            found += [(jump.left, at, before), (jump.right, at, after)]
        return found

    def relax(self, x: Interval) -> Relaxation:
        below, under, above, over = self._lines(x, 0.0)
        return Relaxation(Line(below, under), Line(above, over))

    def centred(self, y: Interval, x: Interval) -> Relaxation:
        """The lines in x - center around y - center. Far from 0 they keep digits that slope * x would lose."""
        below, under, above, over = self._lines(x, x.center)
        return Relaxation(Line(below, under - y.center), Line(above, over - y.center))

    def _lines(self, x: Interval, origin: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Slope and intercept below, slope and intercept above, with intercepts at the origin given."""
        low, high = x.lower, x.upper
        below, above = self.slopes(low, high)
        if self.period is None:
            under, over = self.extreme(below, low, high, 1, origin), self.extreme(above, low, high, -1, origin)
            return below, under, above, over
        # over a period and more, two constants
        constant = self._far(low, high) | (high - low >= self.period)
        least, most = self._range(x)
        below, above = (slope.masked_fill(constant, 0.0) for slope in (below, above))
        under, over = self.extreme(below, low, high, 1, origin), self.extreme(above, low, high, -1, origin)
        return below, torch.where(constant, least, under), above, torch.where(constant, most, over)

    def unstable(self, x: Interval) -> Tensor:
        """Where the function is not a straight line on the interval."""
        result = torch.ones_like(x.lower, dtype=torch.bool)
        for start, end in self.shape.straight:
            result &= ~((x.lower >= start) & (x.upper <= end))
        return result

    def slopes(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Of the lower and of the upper line: on a convex interval tangent in the middle and chord, on a concave one
        the other way round, on others those that leave the least area. Steps have two constants: a slope through a step
        would reach far beyond the range, more than the area it saves is worth."""
        if self.shape.steps:
            return torch.zeros_like(low), torch.zeros_like(low)
        function, middle, shift = self.shape.function, (low + high) / 2, self.shift(low)
        at_low, at_high, tangent = function(low), function(high), self.shape.slope_at(middle - shift)
        # on a width below which the chord's slope is lost in rounding, a tangent is as good to second order
        narrow = positive(low - high + torch.finfo(low.dtype).eps ** (1 / 3))
        chord = torch.lerp((at_high - at_low) / (high - low + narrow), tangent, narrow)
        convex = positive((at_low + at_high) / 2 - function(middle))
        below, above = torch.lerp(chord, tangent, convex), torch.lerp(tangent, chord, convex)
        if not self.shape.mixed:
            return below, above
        # mixed in part, next to a change of curvature
        mixed, least, most = self.table(low - shift, high - shift)
        return torch.lerp(below, least, mixed), torch.lerp(above, most, mixed)

    @cached_property
    def table(self) -> SlopeTable:
        return SlopeTable(self)

    def extreme(self, slope: Tensor, low: Tensor, high: Tensor, sign: int, origin: Tensor | float = 0.0) -> Tensor:
        """Of f(x) - slope (x - origin) on the interval: the least value for sign 1, the largest for -1, or beyond."""
        function, shift = self.shape.function, self.shift(low)
        best = functools.reduce(
            torch.minimum if sign > 0 else torch.maximum,
            [function(x) - slope * (x - origin) for x in self._corners(low, high, shift, sign)],
        )
        for piece, inverse in self._bent(sign):
            # outside of the interval the piece shrinks to an end, which does no harm
            start, end = (_clamped(point + shift, low, high) for point in (piece.start, piece.end))
            touch = torch.minimum(torch.maximum(self._touch(inverse, slope, low, high), start), end)
            value = function(touch) - slope * (touch - origin)
            # sound: a convex piece lies above its tangents, a concave one below; the rest of h' counts at the far end
            with torch.no_grad():
                rest = _finite(piece.slope_at(into(touch - shift, piece)) - slope)
                left, right = rest * (start - touch), rest * (end - touch)
            if sign > 0:
                best = torch.minimum(best, value + torch.minimum(left, right))
            else:
                best = torch.maximum(best, value + torch.maximum(left, right))
        for limit, at, met in self._limits(low, high, shift):
            value = limit - slope * (at - origin)
            best = torch.where(met, torch.minimum(best, value) if sign > 0 else torch.maximum(best, value), best)
        return best

    def place(self, slope: Tensor, low: Tensor, high: Tensor, sign: int) -> Tensor:
        """About where that is."""
        points = self._corners(low, high, 0.0, sign)
        for piece, inverse in self._bent(sign):
            start, end = _clamped(piece.start, low, high), _clamped(piece.end, low, high)
            points.append(torch.minimum(torch.maximum(inverse(slope), start), end))
        values = torch.stack([self.shape.function(x) - slope * x for x in points]) * sign
        if self.shape.jumps:
            nowhere = torch.full_like(low, math.inf)
            limits = self._limits(low, high, 0.0)
            values = torch.stack([*values, *(torch.where(m, (v - slope * at) * sign, nowhere) for v, at, m in limits)])
            points += [torch.full_like(low, at) for _, at, _ in limits]
        return torch.stack(points).gather(0, values.argmin(0, keepdim=True)).squeeze(0)

    def _corners(self, low: Tensor, high: Tensor, shift: Tensor | float, sign: int) -> list[Tensor]:
        """The ends, and the kinks that a line can touch."""
        kinks = self.shape.valleys if sign > 0 else self.shape.ridges
        return [low, high, *(_clamped(kink + shift, low, high) for kink in kinks)]

    def _bent(self, sign: int) -> list[tuple[Curved, InverseSlope]]:
        """The pieces that a line can touch inside."""
        pairs = zip(self.shape.curved, self.inverses, strict=True)
        return [pair for pair in pairs if pair[0].convex == (sign > 0)]

    def _touch(self, inverse: InverseSlope, slope: Tensor, low: Tensor, high: Tensor) -> Tensor:
        with torch.no_grad():  # envelope theorem: an extremum does not move with the place where it is
            middle, shift = (low + high) / 2, self.shift(low)
            if not self.shape.mixed:
                return middle
            elsewhere = positive((slope - self.shape.slope_at(middle - shift)).abs())
            return torch.lerp(middle, inverse(slope) + shift, elsewhere)


def _finite(slope: Tensor) -> Tensor:
    """Slopes without infinities, which times a width of 0 would be NaN."""
    largest = torch.finfo(slope.dtype).max
    return slope.clamp(-largest, largest)


def _clamped(point: Tensor | float, low: Tensor, high: Tensor) -> Tensor:
    """The point moved into each interval."""
    if isinstance(point, Tensor):
        return torch.minimum(torch.maximum(low, point), high)
    if math.isinf(point):
        return low if point < 0 else high
    return torch.minimum(low.clamp(min=point), high)
