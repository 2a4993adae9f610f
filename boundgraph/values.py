"""The mathematical objects that travel along the edges of an augmented bound graph.

`batch` is the number of examples. A leading dimension of 1 stands for "the same for every example" and is kept for as
long as that is true. `rows` counts the linear functions being bounded at once: the rows of the specification.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor


class Interval(NamedTuple):
    """Element-wise bounds lower <= x <= upper of a perturbed value."""

    lower: Tensor  # (batch, *node_shape)
    upper: Tensor  # (batch, *node_shape)

    @property
    def center(self) -> Tensor:
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        return (self.upper - self.lower) / 2

    @property
    def shape(self) -> torch.Size:
        return self.lower.shape


class Line(NamedTuple):
    """The function slope * x + intercept, one per element."""

    slope: Tensor  # (batch | 1, *node_shape)
    intercept: Tensor  # (batch | 1, *node_shape)


class Relaxation(NamedTuple):
    """Two lines that enclose an element-wise function on an interval: lower(x) <= f(x) <= upper(x)."""

    lower: Line
    upper: Line


class LinearForm(NamedTuple):
    """Per row a lower bound that is linear in one node: <coefficients[row], node> + bias[row]."""

    coefficients: Tensor  # (batch | 1, rows, *node_shape)
    bias: Tensor  # (batch | 1, rows)


class Bounds(NamedTuple):
    """What a bounded module returns. The side that was not asked for is None."""

    lower: Tensor | None
    upper: Tensor | None
    interval: Interval | None = None


Operand = TypeVar("Operand", Interval, Tensor)


def lower_of(operand: Any) -> Any:
    """The lower bound of an operand; an exact operand (tensor or number) is its own bound."""
    return operand.lower if isinstance(operand, Interval) else operand


def upper_of(operand: Any) -> Any:
    return operand.upper if isinstance(operand, Interval) else operand


def shape_source(interval: Interval) -> Tensor:
    """A tensor with the shape, dtype and device of the bounded value; its numbers mean nothing."""
    return interval.lower


def from_center(center: Tensor, radius: Tensor) -> Interval:
    return Interval(center - radius, center + radius)


def intersect(first: Interval, second: Interval) -> Interval:
    """The common part of two sound intervals. Both hold the true value, so they can miss each other only by rounding;
    then the hull of the two facing ends is returned."""
    lower, upper = torch.maximum(first.lower, second.lower), torch.minimum(first.upper, second.upper)
    return Interval(torch.minimum(lower, upper), torch.maximum(lower, upper))


def node_numel(interval: Interval) -> int:
    """Number of elements of the value per example."""
    return math.prod(interval.shape[1:])
