"""log sum_j exp(x_j) over dimensions of each example: convex, and rising in every element.

Below lies a tangent plane. Above, every exponential lies below its chord, and the logarithm of the sum of the chords,
which is concave in x, below its tangent (the chords and tangents of Wei et al., Convex bounds on the softmax function,
2023).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from boundgraph import planes
from boundgraph.operator import Operator, register
from boundgraph.planes import Plane, Planes, gathered_ends, inner_dims
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    return torch.logsumexp(x, dim, keepdim)


def interval(x: Interval, dim: Any, keepdim: bool = False) -> Interval:
    inner_dims(dim, len(x.shape), "logsumexp")
    return Interval(forward(x.lower, dim, keepdim), forward(x.upper, dim, keepdim))


def relax(x: Interval, dim: Any, keepdim: bool = False) -> Planes:
    dims = inner_dims(dim, len(x.shape), "logsumexp")
    ends = gathered_ends(x, dims)
    among = torch.zeros_like(ends.lower).unsqueeze(-2)
    return Planes(*planes_among(ends, among), dims, x.shape)


def planes_among(x: Interval, among: Tensor) -> tuple[Plane, Plane]:
    """Planes below and above log sum_j exp(x_j) over several choices of elements.

    x: (batch, *rest, inputs); among: 0 for elements that an output sums, -inf for others, (outputs, inputs) or more.
    """
    return _tangent(x.center, among), _above(x, among)


def _tangent(point: Tensor, among: Tensor) -> Plane:
    chosen = point.unsqueeze(-2) + among
    weights, value = chosen.softmax(-1), chosen.logsumexp(-1)
    # sound: the tangent of a convex function, whose gradient is softmax, at any point
    return Plane(weights, value - _applied(weights, point))


def _above(x: Interval, among: Tensor) -> Plane:
    lower, upper = x
    width = upper - lower
    some = torch.where(width > 0, width, 1.0)
    # the slope of each chord, exp(u) (1 - exp(-width)) / width, and its value at the centre; both as logarithms
    slope = upper + torch.where(width > 0, -torch.expm1(-some) / some, 1.0).log()
    middle = torch.logaddexp(lower, upper) - math.log(2)
    total = (middle.unsqueeze(-2) + among).logsumexp(-1)
    # sound: exp is convex, so the sum of exponentials is at most C(x), that of their chords, and log C(x) at most
    # log c + (C(x) - c) / c, the tangent of a concave function, for any c > 0; here c is C at the centre
    coefficients = torch.exp(slope.unsqueeze(-2) + among - total.unsqueeze(-1))
    return Plane(coefficients, total - _applied(coefficients, x.center))


def _applied(coefficients: Tensor, point: Tensor) -> Tensor:
    return (coefficients * point.unsqueeze(-2)).sum(-1)


LOGSUMEXP = register(
    Operator(
        name="logsumexp",
        forward=forward,
        interval=interval,
        relax=relax,
        through=planes.through,
        spellings=(torch.logsumexp, torch.special.logsumexp, "logsumexp", aten.logsumexp.default),
    )
)
