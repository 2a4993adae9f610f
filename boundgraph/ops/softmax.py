"""Softmax along a dimension, and its logarithm: functions of t_i = x_i - log sum_{j != i} exp(x_j) alone,

    softmax_i = sigmoid(t_i),   log_softmax_i = logsigmoid(t_i).

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
    return _through_lines(x, dim, forward, sigmoid.relax)


def logarithm(x: Tensor, dim: int) -> Tensor:
    return torch.log_softmax(x, dim)


def logarithm_interval(x: Interval, dim: int) -> Interval:
    t = _ahead(x, dim, "log_softmax")
    return Interval(F.logsigmoid(t.lower), F.logsigmoid(t.upper))


def logarithm_relax(x: Interval, dim: int) -> Planes:
    return _through_lines(x, dim, logarithm, _lines_around_logsigmoid)


def _ahead(x: Interval, dim: int, what: str) -> Interval:
    """The range of x_i - log sum_{j != i} exp(x_j), in the shape of x."""
    dims = inner_dims(dim, len(x.shape), what)
    t = _ahead_of_others(gathered_ends(x, dims))
    return Interval(*(spread(end, dims, [x.shape[d] for d in dims]) for end in t))


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


def _lines_around_logsigmoid(t: Interval) -> Relaxation:
    """A rising, concave function."""
    low, high = t
    width = high - low
    some = torch.where(width > 0, width, 1.0)
    ends, middle = (F.logsigmoid(low), F.logsigmoid(high)), t.center
    steepness = torch.sigmoid(-middle)
    chord = torch.where(width > torch.finfo(low.dtype).eps ** 0.5, (ends[1] - ends[0]) / some, steepness)
    # sound: above any slope a concave function is least at an end
    below = torch.minimum(ends[0] - chord * low, ends[1] - chord * high)
    # sound: a tangent lies above a concave function
    return Relaxation(Line(chord, below), Line(steepness, F.logsigmoid(middle) - steepness * middle))


def _through_lines(x: Interval, dim: int, function: Any, lines_around: Any) -> Planes:
    """Planes around t_i, put into the lines of a rising function of it."""
    dims = inner_dims(dim, len(x.shape), "softmax")
    ends = gathered_ends(x, dims)
    if ends.shape[-1] == 1:  # a constant
        plane = Plane(torch.zeros_like(ends.lower).unsqueeze(-1), function(ends.lower, -1))
        return Planes(plane, plane, dims, x.shape)
    own = torch.eye(ends.shape[-1], dtype=ends.dtype, device=ends.device)
    others = torch.zeros_like(own).masked_fill(own.bool(), -torch.inf)
    lower, upper = lines_around(_ahead_of_others(ends))
    below, above = planes_among(ends, others)

    def put_into(line: Line, plane: Plane) -> Plane:
        # sound: the slope of a line around a rising function is not negative, so x_i minus a plane above (below) the
        # logarithm of the others gives a plane below (above)
        coefficients = line.slope.unsqueeze(-1) * (own - plane.coefficients)
        return Plane(coefficients, line.intercept - line.slope * plane.intercept)

    return Planes(put_into(lower, above), put_into(upper, below), dims, x.shape)


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
