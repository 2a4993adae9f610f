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
from boundgraph.ops.logsumexp import planes_among
from boundgraph.ops.softmax import around_sigmoid, logsumexp_of_others
from boundgraph.planes import Plane, Planes
from boundgraph.values import Interval


class Mask(NamedTuple):
    """What a mask says of scores of one shape."""

    keep: Tensor  # which scores count
    several: Tensor  # (..., length, 1), whether at least two of a row do; elsewhere the softmax is constant, 0 or 1
    swallowed: Tensor  # (..., length, 1), whether what is added swallows the scores of the whole row
    added: Tensor | float  # to scores that count


def mask_of(mask: Tensor, shape: torch.Size) -> Mask:
    if mask.dtype == torch.bool:
        keep = mask.expand(shape)
        return Mask(keep, keep.sum(-1, keepdim=True) > 1, torch.zeros_like(keep[..., :1]), 0.0)
    # people also write the least number there is: beside any other the exponential of such a score is 0 all the same,
    # and where there is no other, adding it swallows the scores
    hidden = mask <= _least(mask) / 2
    swallowed = hidden.all(-1, keepdim=True) & (mask != -torch.inf).any(-1, keepdim=True)
    keep = ~hidden.expand(shape)
    several = keep.sum(-1, keepdim=True) > 1
    return Mask(keep, several, swallowed.expand(several.shape), mask.masked_fill(hidden, 0))


def _least(mask: Tensor) -> float:
    return torch.finfo(mask.dtype).min


def summand(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask of `softmax(x + mask)`: a row in which nothing counts is NaN."""
    mask = mask.to(dtype)
    return mask.masked_fill((mask == -torch.inf).all(-1, keepdim=True), torch.nan)


def summand_where(condition: Tensor, hides: bool, value: float, dtype: torch.dtype) -> Tensor:
    """The mask of `softmax(torch.where(condition, value, x))`, or of the same with x first if not `hides`."""
    hidden = condition if hides else ~condition
    return summand(torch.zeros_like(hidden, dtype=dtype).masked_fill(hidden, value), dtype)


def forward(x: Tensor, mask: Tensor) -> Tensor:
    """x (batch, ..., length, keys); mask broadcasts to it: bool, True where a score counts, or floating, a summand,
    -inf where it does not. A row in which nothing counts is 0."""
    masked = x.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else x + mask
    return torch.softmax(masked, -1).masked_fill((masked == -torch.inf).all(-1, keepdim=True), 0)


def interval(x: Interval, mask: Tensor) -> Interval:
    said = mask_of(mask, x.shape)
    ends = Interval(x.lower + said.added, x.upper + said.added)
    read = said.keep if mask.dtype == torch.bool else torch.ones_like(said.keep)  # what is added hides no NaN

    def end(ahead: Tensor, own: Tensor, constant: float) -> Tensor:
        known = torch.where(said.several, torch.sigmoid(ahead), 1.0).masked_fill(~said.keep, 0)
        # sound: shares of a whole, however the scores were rounded
        known = known.masked_fill(said.swallowed, constant)
        return known.masked_fill((own.isnan() & read).any(-1, keepdim=True), torch.nan)

    return Interval(*map(end, _ahead_of_others(ends, said), ends, (0.0, 1.0)))


def _ahead_of_others(x: Interval, mask: Mask) -> Interval:
    """The range of x_i - log sum_{j != i} exp(x_j) over the j that count. It means nothing where fewer than two do."""
    hidden = ~mask.keep & mask.several
    lower, upper = (logsumexp_of_others(end.masked_fill(hidden, -torch.inf)) for end in x)
    # exact: it rises in x_i and falls in all other elements
    return Interval(x.lower - upper, x.upper - lower)


def relax(x: Interval, mask: Tensor) -> Planes:
    said = mask_of(mask, x.shape)
    varies, dims = said.keep & said.several, (len(x.shape) - 1,)
    # sound: with fewer than two scores that count, 1 for one of these, else 0; and from 0 to 1 in any case
    low = said.keep.to(x.lower.dtype)
    high = low.masked_fill(said.swallowed, 1)
    if x.shape[-1] == 1:
        flat = torch.zeros_like(x.lower).unsqueeze(-1)
        return Planes(Plane(flat, low), Plane(flat, high), dims, x.shape)
    ends = Interval(x.lower + said.added, x.upper + said.added)
    own = torch.eye(x.shape[-1], dtype=low.dtype, device=low.device)
    counted = (said.keep.unsqueeze(-2) & ~own.bool()) | ~varies.unsqueeze(-1)
    others = torch.zeros_like(own).expand(counted.shape).masked_fill(~counted, -torch.inf)
    # sound: t_i is x_i minus the logarithm of the others, so planes above that give planes below, and the reverse
    above, below = (Plane(own - plane.coefficients, -plane.intercept) for plane in planes_among(ends, others))
    under, over = around_sigmoid(_ahead_of_others(ends, said), below.at(ends.center), above.at(ends.center))

    def of_scores(plane: Plane, constant: Tensor) -> Plane:
        added = torch.as_tensor(said.added, dtype=low.dtype, device=low.device).expand(x.shape)
        intercept = torch.where(varies, plane.at(added), constant)
        return Plane(plane.coefficients.masked_fill(~varies.unsqueeze(-1), 0), intercept)

    # sound: the slope of a line around a rising function is not negative
    lower, upper = (plane.through_line(*line) for plane, line in ((below, under), (above, over)))  # type: ignore
    return Planes(of_scores(lower, low), of_scores(upper, high), dims, x.shape)


MASKED_SOFTMAX = register(
    Operator(name="masked_softmax", forward=forward, interval=interval, relax=relax, through=planes.through)
)
