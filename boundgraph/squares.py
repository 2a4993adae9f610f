"""Sums of squares along the last dimension, Q(x) = sum_j x_j^2, or about their mean, Q(x) = sum_j (x_j - mean)^2.

The sum about the mean is the least of the sums about any a, which makes both sides sharp: above, a may be the mean of
the centres; below, a and x are sought together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from boundgraph.planes import Plane
from boundgraph.values import Interval


def deviations(x: Tensor, centred: bool) -> Tensor:
    """What is squared."""
    return x - x.mean(-1, keepdim=True) if centred else x


def least(x: Interval, centred: bool) -> Tensor:
    """Deviations whose squares sum up to the least Q on the box, exactly."""
    lower, upper = x
    about = balance(x) if centred else torch.zeros_like(lower[..., :1])
    # sound: Q is the least over a of sum_j (x_j - a)^2, which is convex in a and x; `balance` solves for both
    return torch.minimum(torch.maximum(about, lower), upper) - about


def most(x: Interval, centred: bool) -> Tensor:
    """Deviations whose squares sum up to no less than any Q on the box; without a mean to the largest, exactly."""
    # sound: Q is at most the sum of squares about any a, here the mean of the centres, and each is largest at an end
    return deviations(x.center, centred).abs() + x.radius


def tangent(point: Tensor, centred: bool) -> Plane:
    """The plane that touches Q at a point from below, with one output."""
    away = deviations(point, centred)
    # sound: Q is convex with gradient 2 c at a point of deviations c, and <c, point> = <c, c> = Q
    return Plane(2 * away.unsqueeze(-2), -away.square().sum(-1, keepdim=True))


def chords(x: Interval, centred: bool) -> Plane:
    """A plane above Q: the chords of the squares about the mean of the centres."""
    lower, upper = x
    about = x.center.mean(-1, keepdim=True) if centred else torch.zeros_like(lower[..., :1])
    slope = lower + upper - 2 * about
    # sound: Q is at most the sum of squares about any a, and a square is convex, so below its chord
    intercept = -slope * about - (lower - about) * (upper - about)
    return Plane(slope.unsqueeze(-2), intercept.sum(-1, keepdim=True))


def balance(x: Interval) -> Tensor:
    """The a at which the sum of squared distances from a to the intervals is least, (..., 1).

    Half its derivative, sum_j max(a - u_j, 0) - max(l_j - a, 0), rises from one end of an interval to the next at a
    rate that counts the intervals which do not contain a.
    """
    lower, upper = x
    count = lower.shape[-1]
    ends, order = torch.cat((lower, upper), -1).sort(-1)
    rate = count + torch.where(order < count, -1.0, 1.0).to(ends.dtype).cumsum(-1)  # right of each end
    first = (ends[..., :1] - lower).sum(-1, keepdim=True)
    pull = torch.cat((first, first + (rate[..., :-1] * ends.diff(dim=-1)).cumsum(-1)), -1)
    last = (pull <= 0).sum(-1, keepdim=True).sub(1).clamp(min=0)  # from where the derivative reaches 0
    at, slope = pull.gather(-1, last), rate.gather(-1, last).clamp(min=1)
    return ends.gather(-1, last) - at / slope
