"""Convolution in 1, 2 and 3 dimensions: stride, padding (numbers, "same", "valid"), dilation, groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.errors import GraphError
from boundgraph.linear_forms import fold_rows, laid_out_like, unfold_rows, with_channels_last
from boundgraph.operator import Expansion, Operator, register, register_rewrite
from boundgraph.products import matrix_product
from boundgraph.values import Interval
from boundgraph.windows import Field, Windows, fitted, within

aten = torch.ops.aten

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if x.dim() != weight.dim():
        raise GraphError(
            f"convolution with weight {tuple(weight.shape)} needs an input of {weight.dim()} dimensions with the batch "
            f"first, not shape {tuple(x.shape)}; use x.unsqueeze(0) for a single example"
        )
    return _CONVOLUTIONS[weight.dim() - 2](x, weight, bias, stride, padding, dilation, groups)


def interval(x: Interval, weight: Tensor, bias: Tensor | None = None, *geometry: Any) -> Interval:
    # exact for one layer, as for a matrix: the radius travels through |W|
    center = forward(x.center, weight, bias, *geometry)
    return Interval.around(center, forward(x.radius, weight.abs(), None, *geometry))


_MANY_CHANNELS = 16


def interval_channels_last(x: Interval, weight: Tensor, bias: Tensor | None = None, *geometry: Any) -> Interval:
    """The same, with channels last in memory where there are enough of them for that to pay."""
    if weight.dim() != 4 or len(x.shape) != 4 or weight.shape[0] < _MANY_CHANNELS:
        return interval(x, weight, bias, *geometry)
    y = interval(Interval.around(with_channels_last(x.center), with_channels_last(x.radius)), weight, bias, *geometry)
    return Interval.around(with_channels_last(y.center), with_channels_last(y.radius))


def backward(
    coefficients: Tensor | Windows, x: Interval, weight: Tensor, bias: Tensor | None = None, *options: Any
) -> Tensor | Windows:
    """The adjoint of a convolution: the transposed one, onto exactly the positions of the input."""
    geometry = _Geometry.of(weight, *options)
    if isinstance(coefficients, Windows):
        if coefficients.field is not None:
            return _larger_windows(coefficients, coefficients.field, x, weight, geometry)
        return coefficients.of(_adjoint(coefficients.values, x, weight, geometry))
    return _adjoint(coefficients, x, weight, geometry)


def _adjoint(coefficients: Tensor, x: Interval, weight: Tensor, geometry: _Geometry) -> Tensor:
    pull = _sub_pixel if _worth_sub_pixels(coefficients, weight, geometry) else _transposed
    return unfold_rows(pull(fold_rows(coefficients), weight, geometry, x.shape[2:]), coefficients)


def gradient(
    upstream: Tensor, coefficients: Tensor, x: Interval, weight: Tensor, bias: Tensor | None = None, *options: Any
) -> tuple[Any, ...]:
    """Of the adjoint for A: the convolution of G; for W: the weight gradient of that convolution, with A upstream."""
    folded = fold_rows(coefficients)
    arrived = laid_out_like(fold_rows(upstream), folded)
    of_coefficients = unfold_rows(laid_out_like(forward(arrived, weight, None, *options), folded), coefficients)
    of_weight = _of_weight(folded, arrived, weight, _Geometry.of(weight, *options)) if weight.requires_grad else None
    return of_coefficients, None, of_weight, None, *(None for _ in options)


class _Geometry(NamedTuple):
    """Options per spatial dimension; the zeros before and behind differ only for "same" with an even kernel."""

    stride: list[int]
    before: list[int]
    after: list[int]
    dilation: list[int]
    reach: list[int]
    groups: int

    @classmethod
    def of(cls, weight: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> _Geometry:
        dims = weight.dim() - 2
        dilation = _per_dim(dilation, dims)
        reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        return cls(_per_dim(stride, dims), *_padding(padding, reach), dilation, reach, groups)


def _transposed(folded: Tensor, weight: Tensor, geometry: _Geometry, positions: Sequence[int]) -> Tensor:
    stride, before, after, dilation, reach, groups = geometry
    transposed = _TRANSPOSED[len(stride)]
    if before == after:
        sizes = zip(positions, folded.shape[2:], stride, before, reach, strict=True)
        # with padding p the transposed convolution reaches (out - 1) * stride - 2 p + reach + 1 positions; the rest of
        # the input was only skipped by the stride
        missing = [size - (out - 1) * s + 2 * p - r - 1 for size, out, s, p, r in sizes]
        return transposed(folded, weight, None, stride, before, missing, groups, dilation)
    pulled = transposed(folded, weight, None, stride, 0, 0, groups, dilation)
    for dim, (start, size) in enumerate(zip(before, positions, strict=True)):  # one more zero behind; its stride is 1
        pulled = pulled.narrow(dim + 2, start, size)
    return pulled


def _larger_windows(windows: Windows, field: Field, x: Interval, weight: Tensor, geometry: _Geometry) -> Windows:
    """The window of inputs that a window of outputs sees: the transposed convolution without padding, since both begin
    where they begin, and the zeros around the image are no part of the input."""
    stride = geometry.stride
    values = _spread(fold_rows(within(windows).values), weight, geometry)
    begin = tuple(s * start - b for s, start, b in zip(stride, field.start, geometry.before, strict=True))
    steps = tuple(s * step for s, step in zip(stride, field.stride, strict=True))
    larger = unfold_rows(values, windows.values)
    return fitted(Windows(larger, windows.tiles, Field(steps, begin), tuple(x.shape[2:]), inside=False))


def _spread(folded: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
    """The transposed convolution onto all positions that it reaches."""
    sizes, stride = folded.shape[2:], geometry.stride
    if {*sizes, *geometry.dilation, geometry.groups} == {1}:  # one position: a combination of kernels
        return matrix_product(folded.flatten(1), weight.flatten(1)).unflatten(1, weight.shape[1:])
    zeros = [0] * len(stride)
    geometry = geometry._replace(before=zeros, after=zeros)
    reached = [(n - 1) * s + r + 1 for n, s, r in zip(sizes, stride, geometry.reach, strict=True)]
    if _worth_a_matrix(folded, weight, reached):
        units = torch.eye(folded[0].numel(), dtype=folded.dtype, device=folded.device).unflatten(1, folded.shape[1:])
        matrix = _transposed(units, weight, geometry, reached)
        return matrix_product(folded.flatten(1), matrix.flatten(1)).unflatten(1, matrix.shape[1:])
    if max(stride) > 1 and weight.dim() == 4 and weight.shape[0] >= _MANY_CHANNELS:
        folded = with_channels_last(folded)  # twice as fast, where positions are spread out
    pull = _sub_pixel if _worth_sub_pixels(folded, weight, geometry) else _transposed
    return pull(folded, weight, geometry, reached)


_FILLED = 8
"""Times as many entries as kernels have that a matrix may have, at most."""
_UNITS = 512
"""Rows of a matrix that making it is worth, at most."""


def _worth_a_matrix(folded: Tensor, weight: Tensor, reached: Sequence[int]) -> bool:
    """A matrix of a whole step is mostly zeros, but products are an order of magnitude faster per operation than
    convolutions to few channels; and it has to be made, from that step for each unit."""
    few = weight.shape[1] <= _FEW_CHANNELS and folded[:1].numel() <= _UNITS
    return few and math.prod(reached) <= _FILLED * math.prod(weight.shape[2:])


def _of_weight(folded: Tensor, arrived: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
    stride, before, after, dilation, _, groups = geometry
    if before != after:
        pads = zip(reversed(before), reversed(after), strict=True)
        arrived, before = F.pad(arrived, [size for pair in pads for size in pair]), [0] * len(before)
    options = (stride, before, dilation, False, [0] * len(before), groups)
    return aten.convolution_backward(folded, arrived, weight, None, *options, (False, True, False))[1]


_FEW_CHANNELS, _FEW_IF_STRIDED = 3, 16
_PIXELS = 16
"""Channels that a block of pixels should make, about: one vector of the processor."""


def _worth_sub_pixels(coefficients: Tensor, weight: Tensor, geometry: _Geometry) -> bool:
    """CPU libraries are slow at transposed convolutions to few channels, such as those of an image, or with strides."""
    plain = geometry.groups == 1 and geometry.before == geometry.after and set(geometry.dilation) == {1}
    most = _FEW_IF_STRIDED if min(geometry.stride) > 1 else _FEW_CHANNELS
    few = weight.dim() == 4 and weight.shape[1] <= most and weight.shape[0] >= 8
    return coefficients.device.type == "cpu" and plain and few


def _sub_pixel(folded: Tensor, weight: Tensor, geometry: _Geometry, positions: Sequence[int]) -> Tensor:
    """A transposed 2-d convolution as an ordinary one whose channels are the pixels of a block (Shi et al. 2016).

    Tap k carries output pixel t to input pixel s t + k - p. With blocks of B = m s pixels, pixel B n + a takes from the
    output pixel m n + d the tap k = a + p - s d, where there is one: a convolution over d, with stride m.
    """
    stride, padding = geometry.stride, geometry.before
    side = math.isqrt(_PIXELS // weight.shape[1])
    blocks = [max(1, side // s) for s in stride]
    sides = [m * s for m, s in zip(blocks, stride, strict=True)]
    options = zip(weight.shape[2:], stride, padding, sides, strict=True)
    (rows, row_is, up), (columns, column_is, left) = (_taps(*option, folded.device) for option in options)
    spread = weight[:, :, rows[:, None, :, None], columns[None, :, None, :]]  # (out, in, a, b, d, e)
    spread = spread * (row_is[:, None, :, None] & column_is[None, :, None, :])
    kernel = spread.permute(2, 3, 1, 0, 4, 5).flatten(0, 2)  # channels (a, b, in)
    counts = [-(-size // side) for size, side in zip(positions, sides, strict=True)]
    behind = [
        (n - 1) * m + taps - before - size  # zeros needed behind
        for n, m, taps, before, size in zip(counts, blocks, kernel.shape[2:], (up, left), folded.shape[2:], strict=True)
    ]
    if behind[0] > up or behind[1] > left:
        folded = F.pad(folded, (0, max(0, behind[1] - left), 0, max(0, behind[0] - up)))
    blocked = F.conv2d(folded, kernel, stride=blocks, padding=(up, left))[:, :, : counts[0], : counts[1]]
    pixels = blocked.permute(0, 2, 3, 1).unflatten(3, (*sides, -1)).permute(0, 1, 3, 2, 4, 5)
    image = pixels.reshape(len(folded), counts[0] * sides[0], counts[1] * sides[1], weight.shape[1])
    return image[:, : positions[0], : positions[1]].permute(0, 3, 1, 2)


def _taps(kernel: int, stride: int, padding: int, side: int, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """For pixel a of a block and neighbour d the tap, whether there is such a tap, and how far d goes back."""
    back = max(0, (kernel - 1 - padding) // stride)
    neighbours = torch.arange(-back, (side - 1 + padding) // stride + 1, device=device)
    tap = torch.arange(side, device=device)[:, None] + padding - stride * neighbours[None]
    return tap.clamp(0, kernel - 1), (tap >= 0) & (tap < kernel), back


def _per_dim(value: Any, dims: int) -> list[int]:
    values = [value] * dims if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


def _padding(padding: Any, reach: list[int]) -> tuple[list[int], list[int]]:
    """Zeros before and behind, per dimension."""
    if padding == "valid":
        padding = 0
    if padding == "same":
        before = [total // 2 for total in reach]
        return before, [total - start for total, start in zip(reach, before, strict=True)]
    both = _per_dim(padding, len(reach))
    return both, both


CONV = register(
    Operator(
        name="conv",
        forward=forward,
        interval=interval,
        backward=backward,
        gradient=gradient,
        windowed=True,
        spellings=(
            *(F.conv1d, F.conv2d, F.conv3d),
            *(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default),
            *(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding),
        ),
    )
)


def _either(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, more: Any, groups: int
) -> Any:
    if transposed:
        return _TRANSPOSED[len(stride)](x, weight, bias, stride, padding, more, groups, dilation)
    return _CONVOLUTIONS[len(stride)](x, weight, bias, stride, padding, dilation, groups)


CONVOLUTION = register_rewrite(Expansion(name="convolution", adapters={aten.convolution.default: _either}))
