"""Whether intervals and lines enclose a scalar function on given boxes, shown by interval arithmetic.

The distance of a function from a line has the curvature of the function. Where it is concave it is least at an end of
the box; where it is convex a tangent close to the minimum lies below it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import sympy
import torch
from mpmath import mp  # type: ignore[import-untyped]
from torch import Tensor

from boundgraph.operator import X
from boundgraph.scalar.enclosures import Ball, ball, enclose, sign_of
from boundgraph.scalar.exp_polynomials import Root, number
from boundgraph.scalar.facts import ActivationError, Facts, Piece
from boundgraph.scalar.shape import Shape
from boundgraph.scalar.signs import algebraic
from boundgraph.values import Interval, Relaxation

_ROUNDINGS = 16


class ProofError(ActivationError):
    """A claim about an activation that is false, or that interval arithmetic cannot confirm."""


@cache
def derivative(formula: sympy.Expr, order: int) -> sympy.Expr:
    return simpler(sympy.diff(formula, X, order))


def simpler(expression: sympy.Expr) -> sympy.Expr:
    """With numerator and denominator factored, so that enclosures lose little to cancellation."""
    form = algebraic(expression)
    return form.restored(sympy.factor(sympy.together(form.expression)))


def number_or_infinity(point: Any, side: int) -> Any:
    if not isinstance(point, Root) and point in (sympy.oo, -sympy.oo):
        return mp.inf if point == sympy.oo else -mp.inf
    return number(point, side)


def boxes(facts: Facts, shape: Shape) -> Interval:
    """Intervals on and around all special points, and far from them."""
    points = {0.0, *shape.maxima, *shape.minima, *(p for change in shape.mixed for p in change)}
    points |= {*shape.ridges, *shape.valleys, *(jump.at for jump in shape.jumps)}
    first, last = shape.domain
    found = []
    for point in sorted(points):
        for left, right in ((1.0, 1.5), (0.1, 3.0), (6.0, 0.4), (0.0, 1.0), (1e-3, 2e-3), (15.0, 20.0)):
            found.append((point - left, point + right))
    found += [(3.0, 4.0), (-4.0, -3.0), (30.0, 40.0), (-40.0, -30.0), (-200.0, 300.0)]
    poles = [jump.at for jump in shape.jumps if math.inf in (abs(jump.left), abs(jump.right))]
    kept = [(max(low, first), min(high, last)) for low, high in found]
    kept = [(low, high) for low, high in kept if low < high and not any(low <= pole <= high for pole in poles)]
    infinite = [p for p in (first, last) if math.isfinite(p) and not math.isfinite(_value(shape, p))]
    kept = [(low, high) for low, high in kept if low not in infinite and high not in infinite]
    ends = torch.tensor(kept or [(max(first, 0.5), 1.5)], dtype=torch.float64)
    small = _finite(shape, ends)
    return Interval(*(end.unsqueeze(1) for end in ends[small].unbind(1)))


def _value(shape: Shape, x: float) -> float:
    return float(shape.function(torch.tensor([x], dtype=torch.float64)))


def _finite(shape: Shape, ends: Tensor) -> Tensor:
    values = shape.function(ends)
    return (values.isfinite() & (values.abs() < 1e12)).all(1)


def intervals(facts: Facts, boxes: Interval, found: Interval) -> str:
    for low, high, least, most in _rows(boxes, found):
        for line, sign in ((least, 1), (most, -1)):
            _require_side(facts, low, high, 0.0, line, sign, "an interval")
    return f"intervals enclose the function on {len(boxes.lower)} boxes around all special points and far from them"


def lines(facts: Facts, boxes: Interval, found: Relaxation) -> str:
    for (slope, intercept), sign in zip(found, (1, -1), strict=True):
        intercept = torch.zeros_like(slope) if intercept is None else intercept
        for low, high, k, b in zip(*(part.expand_as(boxes.lower).flatten().tolist() for part in
                                     (boxes.lower, boxes.upper, slope, intercept)), strict=True):  # fmt: skip
            _require_side(facts, low, high, k, b, sign, "a line")
    return f"lines enclose the function on {len(boxes.lower)} boxes around all special points and far from them"


def _rows(boxes: Interval, found: Interval) -> Iterator[tuple[float, ...]]:
    return zip(*(part.flatten().tolist() for part in (boxes.lower, boxes.upper, found.lower, found.upper)), strict=True)


def _require_side(facts: Facts, low: float, high: float, slope: float, intercept: float, sign: int, what: str) -> None:
    """sign (f(x) - slope x - intercept) >= -rounding on the whole interval."""
    for piece in facts.pieces:
        start = max(mp.mpf(low), number_or_infinity(piece.start, 1))
        end = min(mp.mpf(high), number_or_infinity(piece.end, -1))
        if start < end and not _Gap(piece, slope, intercept, sign).stays_open(start, end):
            raise ProofError(f"{what} of {facts.formula} on [{low!r}, {high!r}] is not shown to enclose it")


class _Gap:
    """g(x) = sign (f(x) - slope x - intercept) on a piece, the curvature of which has been shown."""

    def __init__(self, piece: Piece, slope: float, intercept: float, sign: int) -> None:
        self.formula, self.first = piece.formula, derivative(piece.formula, 1)
        self.slope, self.intercept, self.sign = mp.mpf(slope), mp.mpf(intercept), sign
        self.convex = piece.curvature * sign > 0

    def at(self, x: Any) -> Ball:
        return self.sign * (enclose(self.formula, ball(x)) - ball(self.slope) * ball(x) - ball(self.intercept))

    def slope_at(self, x: Any) -> Ball:
        return self.sign * (enclose(self.first, ball(x)) - ball(self.slope))

    def stays_open(self, start: Any, end: Any) -> bool:
        """Whether g is nowhere below 0 by more than rounding."""
        # of the largest number that enters, and that may be x itself, as in x - tanh(x)
        size = max(abs(enclose(self.formula, ball(x)).mid) + (1 + abs(self.slope)) * abs(x) for x in (start, end))
        epsilon, tiny = torch.finfo(torch.float64).eps, torch.finfo(torch.float64).tiny
        rounding = _ROUNDINGS * epsilon * (float(size.b) + abs(float(self.intercept))) + tiny
        least = min(self.at(start).a, self.at(end).a, key=lambda value: value.a)
        if self.convex:
            low, high = self._around_minimum(start, end)
            # sound: g lies above its tangent, and beyond `high` it rises
            least = min(least, (self.at(low) + self.slope_at(low) * (ball(high) - ball(low))).a, key=lambda v: v.a)
        return bool(least >= -rounding)

    def _around_minimum(self, start: Any, end: Any) -> tuple[Any, Any]:
        """Two numbers close to each other with the minimum between them; both an end if it is there."""
        if sign_of(self.slope_at(start + (end - start) * mp.mpf(2) ** -100)) != -1:
            return start + (end - start) * mp.mpf(2) ** -100, start + (end - start) * mp.mpf(2) ** -100
        low, high = start + (end - start) * mp.mpf(2) ** -100, end
        for _ in range(70):
            middle = (low + high) / 2
            if sign_of(self.slope_at(middle)) == -1:
                low = middle
            else:
                high = middle
        return low, high
