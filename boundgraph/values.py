"""The mathematical objects that travel along the edges of an augmented bound graph.

`batch` is the number of examples. A leading dimension of 1 stands for "the same for every example" and is kept for as
long as that is true. `rows` counts the linear functions being bounded at once: the rows of the specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from boundgraph.leaves import mapped


class Interval:
    """Element-wise bounds of a perturbed value: lower <= x <= upper, or |x - center| <= radius.

    Linear rules speak of centres and radii, non-linear ones of ends. An interval keeps what it was made from and works
    out the other form when asked, once. A radius that is the same for all examples may have a leading dimension of 1.
    """

    made_of_ends: bool
    """What it was made from. The other form is subject to rounding, so rules start from this one."""

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        self.made_of_ends = True
        self._lower: Tensor | None = lower
        self._upper: Tensor | None = upper
        self._center: Tensor | None = None
        self._radius: Tensor | None = None

    @classmethod
    def around(cls, center: Tensor, radius: Tensor) -> Interval:
        """center: (batch, *node_shape); radius: (batch | 1, *node_shape), not negative."""
        interval = cls.__new__(cls)
        interval.made_of_ends = False
        interval._lower = interval._upper = None
        interval._center, interval._radius = center, radius
        return interval

    @property
    def lower(self) -> Tensor:
        """(batch, *node_shape)."""
        if self._lower is not None:
            return self._lower
        assert self._center is not None
        assert self._radius is not None
        lower = self._center - self._radius
        self._lower = lower if _may_be_kept(self._center, self._radius) else None
        return lower

    @property
    def upper(self) -> Tensor:
        """(batch, *node_shape)."""
        if self._upper is not None:
            return self._upper
        assert self._center is not None
        assert self._radius is not None
        upper = self._center + self._radius
        self._upper = upper if _may_be_kept(self._center, self._radius) else None
        return upper

    @property
    def center(self) -> Tensor:
        """(batch, *node_shape)."""
        if self._center is not None:
            return self._center
        center = (self.lower + self.upper) / 2
        self._center = center if _may_be_kept(self.lower, self.upper) else None
        return center

    @property
    def radius(self) -> Tensor:
        """(batch | 1, *node_shape)."""
        if self._radius is not None:
            return self._radius
        radius = (self.upper - self.lower) / 2
        self._radius = radius if _may_be_kept(self.lower, self.upper) else None
        return radius

    def through(self, rule: Callable[[Tensor], Tensor]) -> Interval:
        """The image under a linear map with weights >= 0: it takes ends to ends, centres to centres, radii to radii."""
        if self._center is None or self._radius is None:
            return Interval(rule(self.lower), rule(self.upper))
        radius = rule(self._radius.expand_as(self._center))
        return Interval.around(rule(self._center), radius[: self._radius.shape[0]])

    def examples(self, part: slice | Tensor) -> Interval:
        """The interval of some examples of the batch."""
        if self._center is None or self._radius is None:
            return Interval(self.lower[part], self.upper[part])
        shared = self._radius.shape[0] == 1 and self._center.shape[0] != 1
        return Interval.around(self._center[part], self._radius if shared else self._radius[part])

    @property
    def shape(self) -> torch.Size:
        return self._shaped.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._shaped.dtype

    @property
    def device(self) -> torch.device:
        return self._shaped.device

    @property
    def _shaped(self) -> Tensor:
        known = self._center if self._center is not None else self._lower
        assert known is not None
        return known

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.lower, self.upper))

    def __repr__(self) -> str:
        return f"Interval(lower={self.lower}, upper={self.upper})"


def _may_be_kept(*sources: Tensor) -> bool:
    """What is worked out without a graph, or in inference mode, must not stand in for what gradients flow through."""
    if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
        return all(source.is_inference() for source in sources)
    return torch.is_grad_enabled() or not any(source.requires_grad for source in sources)


class Line(NamedTuple):
    """The function slope * x + intercept, one per element."""

    slope: Tensor  # (batch | 1, *node_shape)
    intercept: Tensor | None = None  # (batch | 1, *node_shape); None is 0


class Relaxation(NamedTuple):
    """Two lines that enclose an element-wise function on an interval: lower(x) <= f(x) <= upper(x)."""

    lower: Line
    upper: Line


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


def center_of(operand: Any) -> Any:
    """The centre of an operand; an exact one is its own."""
    return operand.center if isinstance(operand, Interval) else operand


def radius_of(operand: Any, factor: float = 1) -> Any:
    """factor times the radius of an operand, or None for an exact one."""
    if not isinstance(operand, Interval):
        return None
    return operand.radius if factor == 1 else factor * operand.radius


def shape_source(interval: Interval) -> Tensor:
    """A tensor with the shape, dtype and device of the bounded value; its numbers mean nothing."""
    return interval.center


def intersect(first: Interval, second: Interval) -> Interval:
    """The common part of two sound intervals. Both hold the true value, so they can miss each other only by rounding;
    then the hull of the two facing ends is returned."""
    lower, upper = torch.maximum(first.lower, second.lower), torch.minimum(first.upper, second.upper)
    return Interval(torch.minimum(lower, upper), torch.maximum(lower, upper))


def examples_of(value: Any, part: slice | Tensor, batch: int) -> Any:
    """Some examples of all that has a dimension of `batch` examples; what is the same for all has one of 1."""

    def cut(leaf: Any) -> Any:
        if isinstance(leaf, Interval):
            return leaf.examples(part)
        return leaf[part] if isinstance(leaf, Tensor) and leaf.shape[0] == batch else leaf

    return mapped(cut, value)


def node_numel(interval: Interval) -> int:
    """Number of elements of the value per example."""
    return math.prod(interval.shape[1:])
