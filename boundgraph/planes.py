"""Functions of several elements of an example: dimensions gathered behind the others, planes over them.

The elements that a function reads together, its inputs, lie along one last dimension here, those of one output along
the dimension before it; `rest` are the dimensions that it treats one by one, as broadcasting would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.values import Interval


class Plane(NamedTuple):
    """The functions <coefficients, inputs> + intercept, one per output."""

    coefficients: Tensor  # (batch, *rest, outputs, inputs)
    intercept: Tensor  # (batch, *rest, outputs)

    def at(self, point: Tensor) -> Tensor:
        """The values at a point (batch, *rest, inputs)."""
        return self.intercept + (self.coefficients @ point.unsqueeze(-1)).squeeze(-1)

    def through_line(self, slope: Tensor, intercept: Tensor) -> Plane:
        """slope * plane + intercept, with one line per output."""
        return Plane(slope.unsqueeze(-1) * self.coefficients, slope * self.intercept + intercept)

    def over(self, divisor: Tensor) -> Plane:
        return Plane(self.coefficients / divisor, self.intercept / divisor)


class Planes(NamedTuple):
    """Planes that enclose a function of the elements along `dims` of an operand: outputs as many, or one."""

    lower: Plane
    upper: Plane
    dims: tuple[int, ...]
    shape: torch.Size  # of the operand


def inner_dims(dim: Any, ndim: int, what: str) -> tuple[int, ...]:
    """The named dimensions, each within 1..ndim - 1."""
    require_inner_dims(dim, ndim, what)
    return tuple(d % ndim for d in ([dim] if isinstance(dim, int) else dim))


def gathered(value: Tensor, dims: Sequence[int]) -> Tensor:
    """The dims moved behind the others and made one: (batch, *rest, inputs)."""
    return value.movedim(tuple(dims), tuple(range(-len(dims), 0))).flatten(-len(dims))


def spread(value: Tensor, dims: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """The inverse of `gathered`; sizes: of the dims."""
    return value.unflatten(-1, tuple(sizes)).movedim(tuple(range(-len(dims), 0)), tuple(dims))


def gathered_ends(x: Interval, dims: Sequence[int]) -> Interval:
    return Interval(*(gathered(end, dims) for end in x))


def gathered_rows(coefficients: Tensor, dims: Sequence[int], shape: torch.Size) -> Tensor:
    """Coefficients of a function of the elements along `dims` of a value of this shape: (batch | 1, *rest, rows,
    outputs), outputs as many as these elements, or one, whether or not a dimension of 1 is left of them."""
    behind = tuple(dim + 1 for dim in dims)
    rest = [size for dim, size in enumerate(shape) if dim and dim not in dims]
    several = math.prod(coefficients.shape[2:]) != math.prod(rest) or coefficients.shape[2:] == shape[1:]
    rows = gathered(coefficients, behind) if several else coefficients.reshape(*coefficients.shape[:2], *rest, 1)
    return rows.movedim(1, -2)


def spread_rows(rows: Tensor, dims: Sequence[int], shape: torch.Size) -> Tensor:
    """(batch, *rest, rows, inputs) -> the coefficients of the operand of this shape."""
    return spread(rows.movedim(-2, 1), tuple(dim + 1 for dim in dims), [shape[dim] for dim in dims])


def through(coefficients: Tensor, planes: Planes) -> tuple[Tensor, Tensor]:
    """Replace a function by planes.

    # sound: with A >= 0, A y >= A (lower plane); with A < 0, A y >= A (upper plane).
    """
    rows = gathered_rows(coefficients, planes.dims, planes.shape)
    above, below = rows.clamp(min=0), rows.clamp(max=0)
    pulled = above @ planes.lower.coefficients + below @ planes.upper.coefficients
    offset = above @ planes.lower.intercept.unsqueeze(-1) + below @ planes.upper.intercept.unsqueeze(-1)
    return spread_rows(pulled, planes.dims, planes.shape), total_of(offset.squeeze(-1))


def total_of(offsets: Tensor) -> Tensor:
    """(batch, *rest, rows) -> (batch, rows)."""
    return offsets.flatten(1, -2).sum(1) if offsets.dim() > 2 else offsets


def sum_of_others(value: Tensor) -> Tensor:
    """sum_{j != i} value_j for each i along the last dimension, of values >= 0."""
    largest, first = value.max(-1, keepdim=True)
    rest = value.scatter(-1, first, 0.0)
    total = rest.sum(-1, keepdim=True)
    # all but the largest have that among their others, so what is taken from the sum is no more than what is left
    return (largest + (total - rest)).scatter(-1, first, total)
