"""Sums of squares along the last dimension, Q(x) = sum_j x_j^2, or about their mean, Q(x) = sum_j (x_j - mean)^2.

The sum about the mean is the least of the sums about any a, which makes both sides sharp: above, a may be the mean of
the centres; below, a and x are sought together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from boundgraph.planes import Plane, sum_of_others
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


def of_others(x: Interval, centred: bool) -> tuple[Tensor, Tensor]:
    """Bounds on what Q is without each element i, (..., n): sum_{j != i} (x_j - m_i)^2, m_i the mean of the others, or
    sum_{j != i} x_j^2, and then exactly.

    With a mean it is, for any a, sum_{j != i} (x_j - a)^2 - (n - 1) (m_i - a)^2.
    """
    if not centred:
        nearest, farthest = (side(x, centred).square() for side in (least, most))
        return sum_of_others(nearest), sum_of_others(farthest)
    others = x.shape[-1] - 1
    if others < 2:
        return torch.zeros_like(x.lower), torch.zeros_like(x.upper)
    # with a the mean of the centres, and center measured from it, m_i - a is -center_i / (n - 1) at the centre; both
    # differences are taken from what they are there
    center, radius = deviations(x.center, centred).abs(), x.radius
    shift, reach = center / others, sum_of_others(radius) / others
    near, kept = (shift - reach).relu(), (center - radius).relu()
    risen = sum_of_others(radius * (2 * center + radius)) + others * torch.minimum(shift, reach) * (shift + near)
    fallen = sum_of_others(torch.minimum(center, radius) * (center + kept)) + others * reach * (2 * shift + reach)
    at_center = _of_others_at(x.center)
    return torch.maximum(at_center - fallen, _least_of_others(x)).clamp(min=0), at_center + risen


def _of_others_at(point: Tensor) -> Tensor:
    """sum_{j != i} (x_j - m_i)^2 at a point."""
    others = point.shape[-1] - 1
    away = deviations(point, centred=True)
    found = sum_of_others(away.square()) - away.square() / others
    # where an element is farthest from the mean, that may lose every digit
    first = away.abs().argmax(-1, keepdim=True)
    order = torch.arange(others, device=point.device)
    rest = deviations(point.gather(-1, order + (order >= first)), centred=True)
    return found.scatter(-1, first, rest.square().sum(-1, keepdim=True))


def _least_of_others(x: Interval) -> Tensor:
    """From the a that balances all intervals: better than the above where they are wide."""
    about = balance(x)
    above, below = (x.lower - about).relu(), (about - x.upper).relu()
    distance = above + below
    higher, lower = ((part > 0).to(distance.dtype).sum(-1, keepdim=True) for part in (above, below))
    behind = torch.where(above > 0, higher, lower) - 1
    # sound: without i, half the derivative in a is distance_i at the balance, towards i, and from there away from i it
    # grows by 1 for each other interval on the side of i: the sum falls by 2 distance_i s - behind s^2 at most
    fallen = sum_of_others(distance.square()) - distance.square() / behind.clamp(min=1)
    return torch.where((distance > 0) & (behind < 1), 0.0, fallen)
