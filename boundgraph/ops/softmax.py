"""Softmax along a dimension, and its logarithm.

With t_i = x_i - log sum_{j != i} exp(x_j) they are sigmoid(t_i) and logsigmoid(t_i).

t_i rises in x_i and falls in all others, so its range on a box is known, and with it both intervals exactly. It is
concave in x, and planes around it are those of the sum of exponentials of the others. They enter rising lines around
the outer function on the range of t_i. The bounds of Wei et al. (Convex bounds on the softmax function, 2023), one
tangent plane of a convex and one of a concave function, have exp in place of the sigmoid, and x_i among the chords.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph import planes
from boundgraph.operator import Expansion, Operator, Refused, register, register_rewrite
from boundgraph.ops import sigmoid
from boundgraph.ops.logsumexp import planes_among
from boundgraph.planes import Plane, Planes, gathered_ends, inner_dims, spread
from boundgraph.values import Interval, Line, Relaxation

aten = torch.ops.aten


def forward(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim)


def interval(x: Interval, dim: int) -> Interval:
    t = _ahead(x, dim, "softmax")
    return Interval(torch.sigmoid(t.lower), torch.sigmoid(t.upper))


def relax(x: Interval, dim: int) -> Planes:
    return _through_lines(x, dim, forward, around_sigmoid)


def logarithm(x: Tensor, dim: int) -> Tensor:
    return torch.log_softmax(x, dim)


def logarithm_interval(x: Interval, dim: int) -> Interval:
    t = _ahead(x, dim, "log_softmax")
    return Interval(F.logsigmoid(t.lower), F.logsigmoid(t.upper))


def logarithm_relax(x: Interval, dim: int) -> Planes:
    return _through_lines(x, dim, logarithm, _around_logsigmoid)


def _ahead(x: Interval, dim: int, what: str) -> Interval:
    """The range of x_i - log sum_{j != i} exp(x_j), in the shape of x."""
    dims = inner_dims(dim, len(x.shape), what)
    ends = gathered_ends(x, dims)
    t = _ahead_of_others(_shifted(ends, _common(ends)))
    return Interval(*(spread(end, dims, [x.shape[d] for d in dims]) for end in t))


def _common(x: Interval) -> Tensor:
    """A number per row that can be taken from all of its elements, since they count by their differences alone. Large
    ones, as of a row that is masked by -1e9, would leave no digits for what is left of them."""
    with torch.no_grad():
        largest = x.center.amax(-1, keepdim=True)
        return torch.where(largest.isinf(), 0.0, largest)


def _shifted(x: Interval, by: Tensor) -> Interval:
    return Interval(x.lower - by, x.upper - by)


def _ahead_of_others(x: Interval) -> Interval:
    # exact: it rises in x_i and falls in all other elements
    return Interval(x.lower - logsumexp_of_others(x.upper), x.upper - logsumexp_of_others(x.lower))


def logsumexp_of_others(x: Tensor) -> Tensor:
    """log sum_{j != i} exp(x_j) for each i along the last dimension; -inf where there are no others."""
    largest, first = x.max(-1, keepdim=True)
    own = torch.exp(x - largest).scatter(-1, first, 0.0)
    # every other element than the largest has that among its others: they sum up to 1 + what is left of the rest, and
    # taking an element <= 1 from a sum >= 1 + itself loses no more than a bit
    others = largest + torch.log(1 + own.sum(-1, keepdim=True) - own)
    without = x.scatter(-1, first, -torch.inf).logsumexp(-1, keepdim=True)
    return others.scatter(-1, first, without)


def _through_lines(x: Interval, dim: int, function: Any, lines_around: Any) -> Planes:
    """Planes around t_i, put into the lines of a rising function of it."""
    dims = inner_dims(dim, len(x.shape), "softmax")
    ends = gathered_ends(x, dims)
    shift = _common(ends)
    ends = _shifted(ends, shift)
    if ends.shape[-1] == 1:  # a constant
        plane = Plane(torch.zeros_like(ends.lower).unsqueeze(-1), function(ends.lower, -1))
        return Planes(plane, plane, dims, x.shape)
    own = torch.eye(ends.shape[-1], dtype=ends.dtype, device=ends.device)
    others = torch.zeros_like(own).masked_fill(own.bool(), -torch.inf)
    # sound: t_i is x_i minus the logarithm of the others, so planes above that give planes below, and the reverse
    above, below = (Plane(own - plane.coefficients, -plane.intercept) for plane in planes_among(ends, others))
    t = _ahead_of_others(ends)
    under, over = lines_around(t, below.at(ends.center), above.at(ends.center))
    # sound: the slope of a line around a rising function is not negative
    lower, upper = below.through_line(*under), above.through_line(*over)
    outer = torch.sigmoid if function is forward else F.logsigmoid
    return Planes(_back(lower, shift, outer(t.lower)), _back(upper, shift, outer(t.upper)), dims, x.shape)


def _back(plane: Plane, shift: Tensor, end: Tensor) -> Plane:
    """A plane over the shifted row as one over the row itself. Where the shift is so large that a product with it has
    no digits left for what softmax tells apart, the end of the interval."""
    lost = shift.abs() * torch.finfo(shift.dtype).eps > 1e-4
    coefficients = plane.coefficients.masked_fill(lost.unsqueeze(-1), 0.0)
    return Plane(coefficients, torch.where(lost, end, plane.intercept - coefficients.sum(-1) * shift))


def around_sigmoid(t: Interval, below: Tensor, above: Tensor) -> Relaxation:
    """Lines that are best where the planes in t are at the centre of the box: `below` and `above`."""
    lines = sigmoid.relax(t)
    slope, intercept = _line_below(torch.sigmoid, t.lower, t.upper, below, lines.lower.slope)
    # sound: sigmoid(t) = -f(-t) with f(t) = -sigmoid(-t), of the same shape, so a line below f at -t gives one above
    turned = _line_below(lambda at: -torch.sigmoid(-at), -t.upper, -t.lower, -above, lines.upper.slope)
    return Relaxation(Line(slope, intercept), Line(turned[0], -turned[1]))


def _line_below(function: Any, low: Tensor, high: Tensor, at: Tensor, steepest: Tensor) -> tuple[Tensor, Tensor]:
    """The line below an S-shaped function that is highest at a point of [low, high]: the tangent there as long as that
    is less steep than the line through the right end, of slope `steepest`."""
    tangent = sigmoid.slope_at(at)
    convex = (at < 0) & ((high <= 0) | (tangent < steepest))
    slope = torch.where(convex, tangent, steepest)
    # sound: f(t) - slope t is least at an end or at the point left of 0 where the slope is that; clamping the point to
    # the interval yields an end when it lies outside
    with torch.no_grad():
        turn = torch.where(convex, at, -sigmoid.point_with_slope(slope))
    turn = torch.minimum(torch.maximum(turn, low), high)
    least = torch.minimum(function(low) - slope * low, function(high) - slope * high)
    return slope, torch.minimum(least, function(turn) - slope * turn)


def _around_logsigmoid(t: Interval, below: Tensor, above: Tensor) -> Relaxation:
    """A chord below and a tangent above a rising, concave function."""
    low, high = t
    width = high - low
    some = torch.where(width > 0, width, 1.0)
    at_low, at_high, at = (F.logsigmoid(point) for point in (low, high, above))
    steepness = torch.sigmoid(-above)
    thin = width < torch.finfo(low.dtype).eps ** (1 / 3)  # the chord's slope is lost in rounding
    chord = torch.where(thin, steepness, (at_high - at_low) / some)
    # sound: with any slope a concave function minus the line is least at an end
    least = torch.minimum(at_low - chord * low, at_high - chord * high)
    # sound: a tangent lies above a concave function
    return Relaxation(Line(chord, least), Line(steepness, at - steepness * above))


def _arguments(input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> tuple:
    if dim is None:
        raise Refused("softmax without a dimension guesses it from the shape; name it, e.g. dim=-1")
    if dtype is not None:
        raise Refused("softmax in another dtype has no bound rule; convert the model instead")
    return input, dim


def _arguments_of_torch(input: Any, dim: Any, dtype: Any = None) -> tuple:
    return _arguments(input, dim, dtype=dtype)


def _arguments_of_kernel(self: Any, dim: int, half_to_float: bool) -> tuple:
    return self, dim


SOFTMAX = register(
    Operator(
        name="softmax",
        forward=forward,
        interval=interval,
        relax=relax,
        through=planes.through,
        rowwise=lambda x, dim: dim == -1,
        spellings=(
            (F.softmax, _arguments),
            *((s, _arguments_of_torch) for s in (torch.softmax, torch.special.softmax, "softmax", aten.softmax.int)),
            (aten._softmax.default, _arguments_of_kernel),
        ),
    )
)
LOG_SOFTMAX = register(
    Operator(
        name="log_softmax",
        forward=logarithm,
        interval=logarithm_interval,
        relax=logarithm_relax,
        through=planes.through,
        rowwise=lambda x, dim: dim == -1,
        spellings=(
            (F.log_softmax, _arguments),
            *(
                (s, _arguments_of_torch)
                for s in (torch.log_softmax, torch.special.log_softmax, "log_softmax", aten.log_softmax.int)
            ),
            (aten._log_softmax.default, _arguments_of_kernel),
        ),
    )
)


def _softmin(*args: Any, **keywords: Any) -> Any:
    input, dim = _arguments(*args, **keywords)
    return torch.softmax(-input, dim)


register_rewrite(Expansion("softmin", {F.softmin: _softmin}))
