"""Max-pooling in 1, 2 and 3 dimensions with any stride, padding, dilation and overlap, and to a fixed output size.

Each output is bounded by lines in one input of its window:
- below by the input with the largest lower bound, since a maximum is at least each of its members;
- above, with i the input of largest upper bound and s the second largest upper bound of the window, by the chord of
  max(x_i, s) on [l_i, u_i], since all other inputs are at most s. When l_i >= s, that is x_i itself.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.linear_forms import inner
from boundgraph.operator import Expansion, Operator, Parts, Random, Refused, Several, register, register_rewrite
from boundgraph.pooling import Members, adaptive_indices, per_dim, require_batched, window_indices
from boundgraph.values import Interval, Line, Relaxation

aten = torch.ops.aten

_POOLS: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_ADAPTIVE: dict[int, Any] = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


class Selection(NamedTuple):
    """Per output the window member that bounds it from below and from above, and the lines in those members."""

    lower_index: Tensor  # (batch, channels, outputs), into the flattened spatial dimensions of the input
    upper_index: Tensor
    lines: Relaxation  # (batch, channels, *output_shape)
    input_shape: torch.Size


def forward(
    x: Tensor, dims: int, kernel_size: Any, stride: Any, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    return _POOLS[dims](x, kernel_size, stride, padding, dilation, ceil_mode)


def interval(x: Interval, dims: int, *options: Any) -> Interval:
    require_batched(x.shape, dims, "max-pooling")
    return Interval(forward(x.lower, dims, *options), forward(x.upper, dims, *options))


def relax(
    x: Interval, dims: int, kernel_size: Any, stride: Any, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Selection:
    output = forward(x.lower, dims, kernel_size, stride, padding, dilation, ceil_mode)
    geometry = tuple(per_dim(option, dims) for option in (kernel_size, stride, padding, dilation))
    return _selection(x, output, window_indices(x.shape[2:], output.shape[2:], geometry, output.device))


def _selection(x: Interval, output: Tensor, windows: Members) -> Selection:
    index, inside = windows
    members = [bound.flatten(2)[:, :, index].masked_fill(~inside, -math.inf) for bound in x]
    lower_index = index.expand_as(members[0]).gather(3, members[0].argmax(3, keepdim=True)).squeeze(3)
    first = members[1].argmax(3, keepdim=True)
    upper_index = index.expand_as(members[1]).gather(3, first).squeeze(3)
    low, high = (member.gather(3, first).squeeze(3) for member in members)
    # in a window of one input the runner-up is -inf, and the chord below is the input itself
    runner_up = members[1].scatter(3, first, -math.inf).amax(3)
    slope, intercept = chord_of_maximum(low, high, runner_up)
    ones = torch.ones_like(slope)
    # dilation can place a window in the padding alone: its maximum is -inf, below every line
    nowhere = torch.zeros_like(ones).masked_fill(~inside.any(1), -math.inf)
    lines = ((ones, nowhere), (slope, intercept))
    shaped = Relaxation(*(Line(*(part.view_as(output) for part in line)) for line in lines))
    return Selection(lower_index, upper_index, shaped, x.shape)


def chord_of_maximum(low: Tensor, high: Tensor, runner_up: Tensor) -> tuple[Tensor, Tensor]:
    """The line above max(x, runner_up) for low <= x <= high, given runner_up <= high.

    # sound: max(x, s) is convex, so its chord lies above it; the chord joins (low, s) and (high, high).
    """
    decided = low >= runner_up
    width = torch.where(decided | (high <= low), 1.0, high - low)
    finite = torch.where(decided, 0.0, runner_up)
    slope = torch.where(decided, 1.0, torch.where(high <= low, 0.0, (high - finite) / width))
    intercept = torch.where(decided, 0.0, torch.where(high <= low, finite, finite - slope * low))
    return slope, intercept


def through(coefficients: Tensor, selection: Selection) -> tuple[Tensor, Tensor]:
    """Push through the lines, then send what a lower (upper) line carries to the input it selects."""
    lower = _along(coefficients.clamp(min=0), selection.lines.lower)
    upper = _along(coefficients.clamp(max=0), selection.lines.upper)
    (batch,) = torch.broadcast_shapes(coefficients.shape[:1], selection.lower_index.shape[:1])
    rows, channels = coefficients.shape[1], selection.input_shape[1]
    pulled = coefficients.new_zeros(batch, rows, channels, math.prod(selection.input_shape[2:]))
    for (part, _), index in ((lower, selection.lower_index), (upper, selection.upper_index)):
        source = part.flatten(3).expand(batch, -1, -1, -1)
        pulled = pulled.scatter_add(3, index.unsqueeze(1).expand_as(source), source)
    return pulled.unflatten(3, selection.input_shape[2:]), lower[1] + upper[1]


def _along(coefficients: Tensor, line: Line) -> tuple[Tensor, Tensor]:
    assert line.intercept is not None
    return coefficients * line.slope.unsqueeze(1), inner(coefficients, line.intercept)


def _options(
    dims: int,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple:
    stride = kernel_size if stride is None or stride == [] else stride
    return input, dims, kernel_size, stride, padding, dilation, ceil_mode


MAX_POOL = register(
    Operator(
        name="max_pool",
        forward=forward,
        interval=interval,
        relax=relax,
        through=through,
        spellings=(
            *((s, partial(_options, 1)) for s in (F.max_pool1d, torch.max_pool1d, aten.max_pool1d.default)),
            *((s, partial(_options, 2)) for s in (F.max_pool2d, torch.max_pool2d, aten.max_pool2d.default)),
            *((s, partial(_options, 3)) for s in (F.max_pool3d, torch.max_pool3d, aten.max_pool3d.default)),
        ),
    )
)


def adaptive(x: Tensor, dims: int, output_size: Any) -> Tensor:
    return _ADAPTIVE[dims](x, output_size)


def adaptive_interval(x: Interval, dims: int, output_size: Any) -> Interval:
    require_batched(x.shape, dims, "adaptive max-pooling")
    return Interval(adaptive(x.lower, dims, output_size), adaptive(x.upper, dims, output_size))


def adaptive_relax(x: Interval, dims: int, output_size: Any) -> Selection:
    output = adaptive(x.lower, dims, output_size)
    return _selection(x, output, adaptive_indices(x.shape[2:], output.shape[2:], output.device))


def _output_size(dims: int, input: Any, output_size: Any, return_indices: bool = False) -> tuple:
    return input, dims, output_size


ADAPTIVE_MAX_POOL = register(
    Operator(
        name="adaptive_max_pool",
        forward=adaptive,
        interval=adaptive_interval,
        relax=adaptive_relax,
        through=through,
        spellings=(
            *((s, partial(_output_size, 1)) for s in (F.adaptive_max_pool1d,)),
            *((s, partial(_output_size, 2)) for s in (F.adaptive_max_pool2d,)),
            *((s, partial(_output_size, 3)) for s in (F.adaptive_max_pool3d,)),
        ),
    )
)


def _values_alone(forward: Any, arguments: Any, dims: int, *args: Any, **keywords: Any) -> Parts:
    """Of a pair of values and indices the values."""

    def part(number: int) -> tuple[Any, tuple]:
        if number != 0:
            raise Refused("which member of a window is largest has no bounds; only the values of max-pooling have")
        return forward, arguments(dims, *args, **keywords)

    return Parts(part)


_PAIRS = {
    (forward, _options): (
        (F.max_pool1d_with_indices, torch.max_pool1d_with_indices, aten.max_pool1d_with_indices.default),
        (F.max_pool2d_with_indices, aten.max_pool2d_with_indices.default),
        (F.max_pool3d_with_indices, aten.max_pool3d_with_indices.default),
    ),
    (adaptive, _output_size): (
        (F.adaptive_max_pool1d_with_indices, torch.adaptive_max_pool1d, aten.adaptive_max_pool1d.default),
        (F.adaptive_max_pool2d_with_indices, aten.adaptive_max_pool2d.default),
        (F.adaptive_max_pool3d_with_indices, aten.adaptive_max_pool3d.default),
    ),
}
WITH_INDICES = register_rewrite(
    Several(
        name="with_indices",
        adapters={
            spelling: partial(_values_alone, *rule, dims)
            for rule, by_dims in _PAIRS.items()
            for dims, spellings in enumerate(by_dims, 1)
            for spelling in spellings
        },
    )
)


def _fractional(*_: Any, **__: Any) -> Any:
    raise Random("fractional max-pooling draws its windows at random; use one with windows that are fixed")


FRACTIONAL = register_rewrite(
    Expansion(
        name="fractional_max_pool",
        adapters=dict.fromkeys(
            (
                F.fractional_max_pool2d,
                F.fractional_max_pool3d,
                F.fractional_max_pool2d_with_indices,
                F.fractional_max_pool3d_with_indices,
            ),
            _fractional,
        ),
    )
)
