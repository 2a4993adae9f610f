"""Softmax over the last dimension of masked scores, as attention takes it: those masked out count as nothing.

Minus infinity is no number to compute bounds with, so the mask is kept apart from the scores. What counts is bounded as
in `softmax`, with sums over other scores that count.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from boundgraph import planes
from boundgraph.operator import Operator, register
from boundgraph.ops import sigmoid
from boundgraph.ops.logsumexp import planes_among
from boundgraph.ops.softmax import logsumexp_of_others
from boundgraph.planes import Plane, Planes
from boundgraph.values import Interval, Line


class Mask(NamedTuple):
    """What a mask says of scores of one shape."""

    keep: Tensor  # which scores count
    several: Tensor  # (..., length, 1), whether at least two of a row do; elsewhere the softmax is constant, 0 or 1
    added: Tensor | float  # to scores that count


def mask_of(mask: Tensor, shape: torch.Size) -> Mask:
    is_summand = mask.dtype != torch.bool
    keep = (mask != -torch.inf if is_summand else mask).expand(shape)
    added = mask.masked_fill(mask == -torch.inf, 0) if is_summand else 0.0
    return Mask(keep, keep.sum(-1, keepdim=True) > 1, added)


def forward(x: Tensor, mask: Tensor) -> Tensor:
    """x (batch, ..., length, keys); mask broadcasts to it: bool, True where a score counts, or floating, a summand,
    -inf where it does not. A row in which nothing counts is 0."""
    keep, _, added = mask_of(mask, x.shape)
    result = torch.softmax((x + added).masked_fill(~keep, -torch.inf), -1)
    return result.masked_fill(~keep.any(-1, keepdim=True), 0)


def interval(x: Interval, mask: Tensor) -> Interval:
    said = mask_of(mask, x.shape)
    ends = Interval(x.lower + said.added, x.upper + said.added)

    def end(ahead: Tensor, own: Tensor) -> Tensor:
        alone = torch.where(own.isnan(), own, 1.0)
        return torch.where(said.several, torch.sigmoid(ahead), alone).masked_fill(~said.keep, 0)

    return Interval(*map(end, _ahead_of_others(ends, said), ends))


def _ahead_of_others(x: Interval, mask: Mask) -> Interval:
    """The range of x_i - log sum_{j != i} exp(x_j) over the j that count. It means nothing where fewer than two do."""
    hidden = ~mask.keep & mask.several
    lower, upper = (logsumexp_of_others(end.masked_fill(hidden, -torch.inf)) for end in x)
    # exact: it rises in x_i and falls in all other elements
    return Interval(x.lower - upper, x.upper - lower)


def relax(x: Interval, mask: Tensor) -> Planes:
    said = mask_of(mask, x.shape)
    varies, dims = said.keep & said.several, (len(x.shape) - 1,)
    constant = said.keep.to(x.lower.dtype)  # sound: with fewer than two scores that count, 1 for one of these, else 0
    if x.shape[-1] == 1:
        plane = Plane(torch.zeros_like(x.lower).unsqueeze(-1), constant)
        return Planes(plane, plane, dims, x.shape)
    ends = Interval(x.lower + said.added, x.upper + said.added)
    own = torch.eye(x.shape[-1], dtype=constant.dtype, device=constant.device)
    counted = (said.keep.unsqueeze(-2) & ~own.bool()) | ~varies.unsqueeze(-1)
    lower, upper = sigmoid.relax(_ahead_of_others(ends, said))
    below, above = planes_among(ends, torch.zeros_like(own).expand(counted.shape).masked_fill(~counted, -torch.inf))
    added = torch.as_tensor(said.added, dtype=constant.dtype, device=constant.device).expand(x.shape).unsqueeze(-2)

    def put_into(line: Line, plane: Plane) -> Plane:
        # sound: the slope of a line around the sigmoid is not negative, so x_i minus a plane above (below) the
        # logarithm of the others gives a plane below (above)
        coefficients = line.slope.unsqueeze(-1) * (own - plane.coefficients)
        moved = line.slope * plane.intercept - (coefficients * added).sum(-1)
        intercept = -moved if line.intercept is None else line.intercept - moved
        coefficients = coefficients.masked_fill(~varies.unsqueeze(-1), 0)
        return Plane(coefficients, torch.where(varies, intercept, constant))

    return Planes(put_into(lower, above), put_into(upper, below), dims, x.shape)


MASKED_SOFTMAX = register(
    Operator(name="masked_softmax", forward=forward, interval=interval, relax=relax, through=planes.through)
)
