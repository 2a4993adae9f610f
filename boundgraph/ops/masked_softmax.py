"""Softmax over the last dimension of masked scores, as attention takes it: a score that is masked out counts as nothing.

Minus infinity is no number to compute bounds with, so the mask is kept apart from the scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from boundgraph.operator import Operator, register
from boundgraph.values import Interval


def forward(x: Tensor, mask: Tensor) -> Tensor:
    """x (batch, ..., length, keys); mask broadcasts to it: bool, True where a score counts, or floating, a summand,
    -inf where it does not. A row in which nothing counts is 0."""
    keep, added = parts_of(mask)
    keep = keep.expand_as(x)
    result = torch.softmax((x + added).masked_fill(~keep, -torch.inf), -1)
    return result.masked_fill(~keep.any(-1, keepdim=True), 0)


def parts_of(mask: Tensor) -> tuple[Tensor, Tensor | float]:
    """Which scores count, and what is added to these."""
    if mask.dtype == torch.bool:
        return mask, 0.0
    keep = mask != -torch.inf
    return keep, mask.masked_fill(~keep, 0)


def interval(x: Interval, mask: Tensor) -> Interval:
    keep, added = parts_of(mask)
    lower, upper, keep = x.lower + added, x.upper + added, keep.expand(x.shape)
    return Interval(_softmax_against(lower, upper, keep), _softmax_against(upper, lower, keep))


def _softmax_against(own: Tensor, others: Tensor, keep: Tensor) -> Tensor:
    """exp(own_i) / (exp(own_i) + sum of exp(others_j) over j != i), of scores that count; elsewhere 0."""
    # sound: each output rises in its own score and falls in all others, so its ends are taken at corners
    own, others = own.masked_fill(~keep, -torch.inf), others.masked_fill(~keep, -torch.inf)
    against = logsumexp_of_others(others)
    # sigmoid(own - against); where nothing else counts, against is -inf and the result 1
    return torch.sigmoid(own - against).masked_fill(~keep, 0)


def logsumexp_of_others(x: Tensor) -> Tensor:
    """For each i the logarithm of the sum of exp(x_j) over j != i, from sums before i and behind i: no differences."""
    nothing = torch.full_like(x[..., :1], -torch.inf)
    before = torch.cat((nothing, torch.logcumsumexp(x, -1)[..., :-1]), -1)
    behind = torch.cat((torch.logcumsumexp(x.flip(-1), -1)[..., :-1].flip(-1), nothing), -1)
    return torch.logaddexp(before, behind)


MASKED_SOFTMAX = register(Operator(name="masked_softmax", forward=forward, interval=interval))
