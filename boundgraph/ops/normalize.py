"""Elements divided by their standard deviation (after their mean is taken off), root mean square, or length.

y = c r, where c = x - mean(x) or c = x, and r is one number for all elements.

**Interval.** With k the share of an element's own square and W_i what the others contribute to the size,

    y_i = c_i / sqrt(k c_i^2 + W_i + eps),

where k = 1 / (n - 1) if the mean is taken off. y_i rises in c_i, and falls in W_i where c_i > 0, so both ends
are values of this function at ends of c_i and W_i. It knows that |y_i| <= 1 / sqrt(k); without a mean it is the range.

**Planes.** With c', r' the middles of the ranges of c and r,

    |c_i r - (c_i' r + r' c_i - c_i' r')| <= radius(c_i) radius(r),

and r, one number for all elements, is replaced by a plane only after the rows are summed up: above by a chord of r as a
function of the mean square and a plane below that, below by a tangent and a plane above it. Where they are better at
the centre, lines around y_i as a function of c_i alone, which is S-shaped, take the place of these planes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph import squares
from boundgraph.operator import Expansion, Operator, applied, register, register_rewrite
from boundgraph.planes import (
    Plane,
    gathered_ends,
    gathered_rows,
    inner_dims,
    spread,
    spread_rows,
    sum_of_others,
    total_of,
)
from boundgraph.values import Interval


class Size(NamedTuple):
    """What elements are divided by: the root of max(q + added, floor), with q the mean of c^2, or the sum."""

    centred: bool
    averaged: bool
    added: float
    floor: float

    @classmethod
    def of(cls, name: str, eps: float | None, dtype: torch.dtype) -> Size:
        """name: deviation, root_mean_square or length. eps: None is the resolution of the dtype."""
        eps = torch.finfo(dtype).eps if eps is None else eps
        if name == "length":
            return cls(centred=False, averaged=False, added=0.0, floor=eps * eps)
        return cls(centred=name == "deviation", averaged=True, added=eps, floor=0.0)

    def scale(self, q: Tensor) -> Tensor:
        """r"""
        return (q + self.added).clamp(min=self.floor).rsqrt()

    def divisor(self, count: int) -> int:
        return count if self.averaged else 1


def forward(x: Tensor, dims: Any, size: str, eps: float | None) -> Tensor:
    kind = Size.of(size, eps, x.dtype)
    away = x - x.mean(dims, keepdim=True) if kind.centred else x
    squares = away.square()
    q = squares.mean(dims, keepdim=True) if kind.averaged else squares.sum(dims, keepdim=True)
    return away * kind.scale(q)


def interval(x: Interval, dims: Any, size: str, eps: float | None) -> Interval:
    dims = inner_dims(dims, len(x.shape), "normalisation")
    elements = _Elements.of(gathered_ends(x, dims), Size.of(size, eps, x.dtype))
    low, high = elements.away
    # sound: y_i rises in c_i; it falls in W_i where c_i >= 0, and rises in it elsewhere
    ends = (
        elements.value(low, torch.where(low >= 0, elements.most, elements.least)),
        elements.value(high, torch.where(high >= 0, elements.least, elements.most)),
    )
    return Interval(*(spread(end, dims, [x.shape[dim] for dim in dims]) for end in ends))


class _Elements(NamedTuple):
    """The ranges of c_i, and of what the others contribute to q, and the share of the own square."""

    away: Interval  # (batch, *rest, n), as are the others
    least: Tensor
    most: Tensor
    own: float
    size: Size

    @classmethod
    def of(cls, x: Interval, size: Size) -> _Elements:
        count = x.shape[-1]
        least, most = (side / size.divisor(count) for side in squares.of_others(x, size.centred))
        if not size.centred:
            return cls(x, least, most, 1 / size.divisor(count), size)
        # exact: x_i - mean has weight 1 - 1 / n for x_i and -1 / n for each other
        radius = x.radius * (1 - 1 / count) + sum_of_others(x.radius) / count
        away = Interval.around(squares.deviations(x.center, centred=True), radius)
        # the sum of squares is that of the others and c_i^2 n / (n - 1)
        return cls(away, least, most, 1 / max(count - 1, 1), size)

    def value(self, away: Tensor, others: Tensor) -> Tensor:
        return away * self.size.scale(self.own * away.square() + others)

    def slope(self, away: Tensor, others: Tensor) -> Tensor:
        """The derivative of `value` in c_i."""
        inner, scale = others + self.size.added, self.size.scale(self.own * away.square() + others)
        kept = self.own * away.square() + inner < self.size.floor
        return scale * torch.where(kept, 1.0, inner * scale.square())


class Pencil(NamedTuple):
    """Functions own_i c_i + shared_i r + intercept_i, one per element."""

    own: Tensor  # (batch, *rest, n), as are the others
    shared: Tensor
    intercept: Tensor


class Normalized(NamedTuple):
    """Bounds of the elements in terms of c and r, and of r in terms of x."""

    lower: Pencil
    upper: Pencil
    below: Plane
    above: Plane
    centred: bool
    dims: tuple[int, ...]
    shape: torch.Size


def relax(x: Interval, dims: Any, size: str, eps: float | None) -> Normalized:
    dims, kind = inner_dims(dims, len(x.shape), "normalisation"), Size.of(size, eps, x.dtype)
    ends = gathered_ends(x, dims)
    elements = _Elements.of(ends, kind)
    scale, below, above = _planes_around_scale(ends, kind)
    # sound: y is odd in c, so minus a line above it at -c lies below it
    slope, intercept = _line_above(elements._replace(away=Interval(-elements.away.upper, -elements.away.lower)))
    met = below.at(ends.center), above.at(ends.center)
    lower = _better(elements.away, scale, (slope, -intercept), met, -1)
    upper = _better(elements.away, scale, _line_above(elements), met[::-1], 1)
    return Normalized(lower, upper, below, above, kind.centred, dims, x.shape)


def _better(
    away: Interval, scale: Interval, line: tuple[Tensor, Tensor], met: tuple[Tensor, Tensor], sign: int
) -> Pencil:
    """Bounds from below (sign -1) or above: around the product c r or a line in c, whichever is better at the centre.

    met: the value at the centre of the plane that r meets where c' is positive, and where it is negative.
    """
    center, slack = away.center, sign * away.radius * scale.radius
    # sound: c r = c' r + r' c - c' r' + (c - c') (r - r'), and the last product is no larger than that of the radii
    product = Pencil(scale.center.expand_as(center), center, slack - center * scale.center)
    alone = Pencil(line[0], torch.zeros_like(center), line[1])
    apart = center * torch.where(center >= 0, *met) + slack - line[0] * center - line[1]
    return Pencil(*(torch.where(sign * apart >= 0, *parts) for parts in zip(alone, product, strict=True)))


def _planes_around_scale(x: Interval, size: Size) -> tuple[Interval, Plane, Plane]:
    """The range of r, and planes below and above it with one output."""
    divisor = size.divisor(x.shape[-1])
    over, under = squares.chords(x, size.centred), squares.tangent(x.center, size.centred)
    least, most = (
        side(x, size.centred).square().sum(-1, keepdim=True) / divisor for side in (squares.least, squares.most)
    )
    small, large = size.scale(most), size.scale(least)
    middle = over.at(x.center) / divisor
    root, floored = size.scale(middle), least + size.added < size.floor
    tangent = torch.where(floored, 0.0, root**3 / -2)
    # sound: r is a falling, convex function of q, so above its tangent in q, which is no larger at a plane above q;
    # where the floor makes it less than convex, it is at least its least
    below = over.through_line(tangent / divisor, torch.where(floored, small, root - tangent * middle))
    # sound: and below its chord, which is no larger at a plane below q; before the chord, at the floor, r is constant
    # the slope of the chord of 1 / sqrt(q) from 1 / large^2 to 1 / small^2, without cancellation
    chord = -(small * large) * (small * large) / (small + large)
    start = torch.maximum(least, torch.full_like(least, size.floor - size.added))
    return Interval(small, large), below, under.through_line(chord / divisor, large - chord * start)


def _line_above(elements: _Elements) -> tuple[Tensor, Tensor]:
    """A line above y_i for all W_i. The largest y_i, with the least W_i for c >= 0 and the most elsewhere, is convex
    below 0 and concave above."""
    (low, high), least, most, own, size = elements
    middle, width = elements.away.center, high - low
    others = torch.where(middle >= 0, least, most)
    at_low, at_high = (elements.value(end, torch.where(end >= 0, least, most)) for end in (low, high))
    thin = width * size.scale(own * middle.square() + others) <= torch.finfo(low.dtype).eps ** (1 / 3)
    chord = (at_high - at_low) / torch.where(thin, 1.0, width)
    slope = torch.where((low >= 0) | thin, elements.slope(middle, others), chord)
    # sound: with any slope, y - slope c is largest at an end or, where y is concave, at the point with that slope or
    # where the floor ends; clamping the point to that part yields an end of it when it lies outside
    inner, rising = least + size.added, slope > 0
    with torch.no_grad():
        reached = (inner / torch.where(rising, slope, 1.0)) ** (2 / 3)
        turn = (torch.where(rising, reached - inner, torch.inf).clamp(min=0) / own).sqrt()
    missing = (size.floor - inner) / own
    kink = torch.where(missing > 0, torch.where(missing > 0, missing, 1.0).sqrt(), 0.0)
    turn = torch.minimum(torch.maximum(torch.maximum(turn, kink), low.clamp(min=0)), high)
    at_ends = torch.maximum(at_low - slope * low, at_high - slope * high)
    at_turn = elements.value(turn, torch.where(turn >= 0, least, most)) - slope * turn
    return slope, torch.maximum(at_ends, at_turn)


def through(coefficients: Tensor, found: Normalized) -> tuple[Tensor, Tensor]:
    """Sum up what the rows ask of r before it meets its planes, and send what they ask of c to x."""
    rows = gathered_rows(coefficients, found.dims, found.shape)
    positive, negative = rows.clamp(min=0), rows.clamp(max=0)
    # sound: with A >= 0, A y >= A lower; with A < 0, A y >= A upper
    own, shared, intercept = (
        positive * lower.unsqueeze(-2) + negative * upper.unsqueeze(-2)
        for lower, upper in zip(found.lower, found.upper, strict=True)
    )
    asked = shared.sum(-1, keepdim=True)
    # sound: the same for r, with the sum for its coefficient
    more, less = asked.clamp(min=0), asked.clamp(max=0)
    (below, least), (above, most) = found.below, found.above
    pulled = squares.deviations(own, found.centred) + more @ below + less @ above
    offset = intercept.sum(-1) + (more @ least.unsqueeze(-1) + less @ most.unsqueeze(-1)).squeeze(-1)
    return spread_rows(pulled, found.dims, found.shape), total_of(offset)


NORMALIZE = register(
    Operator(
        name="normalize",
        forward=forward,
        interval=interval,
        rowwise=lambda x, dims, *_: dims == -1 or tuple(dims) == (-1,),
        relax=relax,
        through=through,
        exact=False,
    )
)


def _to_length(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: None = None) -> Any:
    if p == 2:
        return applied(forward, input, dim, "length", eps)
    return input / torch.clamp(torch.linalg.vector_norm(input, p, dim, keepdim=True), min=eps)


register_rewrite(Expansion("normalize", {F.normalize: _to_length}))
