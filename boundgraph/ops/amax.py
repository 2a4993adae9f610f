"""Maximum and minimum over dimensions of each example.

As max-pooling has it, with a window of all elements along the dimensions: below lies the element with the largest lower
bound, above the chord of max(x_i, s), x_i the element of largest upper bound and s the second largest upper bound.
Among the planes c + sum_j max(u_j - c, 0) / (u_j - l_j) (x_j - l_j), each of which lies above the maximum for any c not
below all lower bounds, the chord, c = s, is lowest at the centre of the box.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from boundgraph import planes
from boundgraph.batch import turned_reduction
from boundgraph.operator import Expansion, Operator, Parts, Refused, register, register_rewrite
from boundgraph.ops.max_pool import chord_of_maximum
from boundgraph.planes import Plane, Planes, gathered_ends, inner_dims
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return torch.amax(x, dim, keepdim)


def interval(x: Interval, dim: Any = (), keepdim: bool = False) -> Interval:
    inner_dims(dim, len(x.shape), "maximum")
    return Interval(forward(x.lower, dim, keepdim), forward(x.upper, dim, keepdim))


def relax(x: Interval, dim: Any = (), keepdim: bool = False) -> Planes:
    dims = inner_dims(dim, len(x.shape), "maximum")
    lower, upper = gathered_ends(x, dims)
    # sound: a maximum is at least each of its members
    below = torch.zeros_like(lower).scatter(-1, lower.argmax(-1, keepdim=True), 1.0)
    first = upper.argmax(-1, keepdim=True)
    low, high = lower.gather(-1, first), upper.gather(-1, first)
    # of one element the runner-up is -inf, and the chord below is the element itself
    runner_up = upper.scatter(-1, first, -math.inf).amax(-1, keepdim=True)
    # sound: all other elements are at most the runner-up
    slope, intercept = chord_of_maximum(low, high, runner_up)
    above = torch.zeros_like(upper).scatter(-1, first, slope)
    bottom = Plane(below.unsqueeze(-2), torch.zeros_like(intercept))
    return Planes(bottom, Plane(above.unsqueeze(-2), intercept), dims, x.shape)


def smallest(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return torch.amin(x, dim, keepdim)


def smallest_interval(x: Interval, dim: Any = (), keepdim: bool = False) -> Interval:
    inner_dims(dim, len(x.shape), "minimum")
    return Interval(smallest(x.lower, dim, keepdim), smallest(x.upper, dim, keepdim))


def smallest_relax(x: Interval, dim: Any = (), keepdim: bool = False) -> Planes:
    # sound: min(x) = -max(-x), so planes p(-x) around max(-x) give -p(-x), the upper one below
    found = relax(Interval(-x.upper, -x.lower), dim, keepdim)
    below, above = (Plane(plane.coefficients, -plane.intercept) for plane in (found.upper, found.lower))
    return found._replace(lower=below, upper=above)


AMAX = register(
    Operator(
        name="amax",
        forward=forward,
        interval=interval,
        relax=relax,
        through=planes.through,
        turned=turned_reduction,
        spellings=(torch.amax, "amax", aten.amax.default),
    )
)
AMIN = register(
    Operator(
        name="amin",
        forward=smallest,
        interval=smallest_interval,
        relax=smallest_relax,
        through=planes.through,
        turned=turned_reduction,
        spellings=(torch.amin, "amin", aten.amin.default),
    )
)


def _parts(operator: Operator, elementwise: Any, input: Any, dim: Any, keepdim: bool, other: Any) -> Any:
    """What torch.max and torch.min give: of two tensors one, along a dimension values and indices, else a number."""
    if other is not None or not isinstance(dim, int | None):
        return elementwise(input, dim if other is None else other)
    if dim is None:
        return getattr(torch, operator.name)(input, ())  # over all dimensions, which the batch forbids

    def part(index: int) -> tuple:
        if index not in (0, -2):
            raise Refused("indices of a maximum or minimum of perturbed values have no bounds")
        return operator.forward, (input, dim, keepdim)

    return Parts(part, ("values", "indices"))


def _largest_parts(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    return _parts(AMAX, torch.maximum, input, dim, keepdim, other)


def _smallest_parts(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    return _parts(AMIN, torch.minimum, input, dim, keepdim, other)


register_rewrite(
    Expansion("max", dict.fromkeys((torch.max, "max", aten.max.dim, aten.max.default, aten.max.other), _largest_parts))
)
register_rewrite(
    Expansion("min", dict.fromkeys((torch.min, "min", aten.min.dim, aten.min.default, aten.min.other), _smallest_parts))
)
