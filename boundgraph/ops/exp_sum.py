"""The sum of exponentials in the cross-entropy of margins m, S = 1 + sum_j exp(-m_j), scaled by exp(-shift).

The cross-entropy log S rises with S, so an upper bound of S bounds the loss, and each exponential lies below its chord:
one row over all margins instead of one row per margin (loss fusion, Xu et al. 2020).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from boundgraph.linear_forms import lower_through, lower_through_gradient, summed_to
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, Line, Relaxation


class Exponentials(NamedTuple):
    """Lines around exp(-m_j - shift) for each margin, and the term that is not a margin's."""

    lines: Relaxation  # (batch, margins)
    constant: Tensor  # (batch, 1)


def shift(margins: Interval) -> Tensor:
    """The largest exponent that the intervals allow, (batch, 1): scaled by it, no exponential exceeds 1. Not a function
    to differentiate: the loss does not depend on it."""
    return (-margins.lower.detach()).amax(1, keepdim=True).clamp(min=0)


def forward(margins: Tensor, by: Tensor) -> Tensor:
    """margins (batch, classes - 1), by (batch, 1) -> (batch, 1)."""
    return torch.exp(-by) + torch.exp(-margins - by).sum(1, keepdim=True)


def interval(margins: Interval, by: Tensor) -> Interval:
    return Interval(forward(margins.upper, by), forward(margins.lower, by))  # it falls in every margin


def relax(margins: Interval, by: Tensor) -> Exponentials:
    low, high = -margins.upper - by, -margins.lower - by
    width = high - low
    # the chord's slope, (e^high - e^low) / width, without cancellation
    chord = torch.exp(high) * torch.where(width > 0, -torch.expm1(-width) / torch.where(width > 0, width, 1), 1)
    # sound: exp is convex, so above any slope its distance from the line is largest at an end
    above = torch.maximum(torch.exp(low) - chord * low, torch.exp(high) - chord * high)
    middle = (low + high) / 2
    tangent = torch.exp(middle)  # sound: a tangent of a convex function
    lower = Line(-tangent, tangent * (1 - middle - by))
    return Exponentials(Relaxation(lower, Line(-chord, above - chord * by)), torch.exp(-by))


def through(coefficients: Tensor, exponentials: Exponentials) -> tuple[Tensor, Tensor]:
    """coefficients (batch | 1, rows, 1): every margin gets those of the sum."""
    margins = exponentials.lines.lower.slope.shape[1]
    pulled, offset = lower_through(coefficients.expand(-1, -1, margins), exponentials.lines)
    return pulled, offset + coefficients.squeeze(2) * exponentials.constant


def gradient(
    upstream: tuple[Tensor, Tensor], coefficients: Tensor, exponentials: Exponentials
) -> tuple[Tensor, tuple[Relaxation, Tensor | None]]:
    """That of the lines, summed over the margins; with g for the offset, g constant for A and g A for the constant."""
    offset, (lines, constant) = upstream[1], exponentials
    of_margins, of_lines = lower_through_gradient(upstream, coefficients.expand(-1, -1, upstream[0].shape[2]), lines)
    of_rows = of_margins.sum(2, keepdim=True) + summed_to((offset * constant).unsqueeze(2), coefficients)
    of_constant = (offset * coefficients.squeeze(2)).sum(1, keepdim=True) if constant.requires_grad else None
    return of_rows, (of_lines, of_constant)


EXP_SUM = register(
    Operator(
        name="exp_sum",
        forward=forward,
        interval=interval,
        relax=relax,
        through=through,
        gradient=gradient,
        operands=("margins",),
    )
)
