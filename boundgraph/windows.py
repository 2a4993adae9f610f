"""Coefficients that vanish outside a window of each image.

A neuron of a convolutional layer sees a window of the image before it, a larger one of the image before that, and so on
to the input. Rows that start from one position of one example, a *tile*, share their windows, so that a walk keeps
(tiles, rows, channels, *window) instead of (batch, rows, channels, *image), and cuts out of its constants, once per
tile, what it multiplies by.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Tiles(NamedTuple):
    """Where the rows of a walk start: an example each, and a position among `grid` in the image that is bounded."""

    example: Tensor  # (tiles,)
    position: Tensor  # (tiles, dims)
    grid: tuple[int, ...]


class Field(NamedTuple):
    """Along each dimension the window of the tile at position p begins at stride * p + start; that may lie outside."""

    stride: tuple[int, ...]
    start: tuple[int, ...]


class Windows(NamedTuple):
    """Coefficients over one window of a node per tile; without a field the window is the whole node.

    values: (tiles, rows, channels, *window). image: the spatial shape of the node. inside: whether values are zero
    wherever a window leaves the image.
    """

    values: Tensor
    tiles: Tiles
    field: Field | None
    image: tuple[int, ...]
    inside: bool = True

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.values.shape[3:])

    @property
    def fits(self) -> bool:
        """Whether no window of any position of the grid leaves the image."""
        if self.field is None:
            return True
        positions = zip(self.tiles.grid, *self.field, self.sizes, self.image, strict=True)
        return all(
            start >= 0 and (count - 1) * stride + start + n <= size for count, stride, start, n, size in positions
        )

    def of(self, values: Tensor) -> Windows:
        """Other coefficients on the same windows, zero where these are."""
        return self._replace(values=values)


def tiles_of(numbers: Tensor, grid: tuple[int, ...]) -> Tiles:
    """The tiles of these numbers, where all positions of an example are counted before the next example's."""
    position = numbers.new_zeros(len(numbers), len(grid))
    for dim, size in reversed(tuple(enumerate(grid))):
        position[:, dim], numbers = numbers % size, numbers // size
    return Tiles(numbers, position, grid)


def at_tiles(values: Tensor, tiles: Tiles) -> Windows:
    """Rows of each tile's own position: values (tiles | 1, rows, channels) -> windows of one position."""
    ones = (1,) * len(tiles.grid)
    values = values.expand(len(tiles.example), -1, -1).reshape(-1, *values.shape[1:], *ones)
    return Windows(values, tiles, Field(ones, (0,) * len(ones)), tiles.grid)


def on_values(rule: Callable[..., Tensor]) -> Callable[..., Tensor | Windows]:
    """A step that treats all positions alike, so that of windows it needs the values only."""

    @functools.wraps(rule)
    def step(coefficients: Tensor | Windows, *arguments: object) -> Tensor | Windows:
        if isinstance(coefficients, Windows):
            return coefficients.of(rule(coefficients.values, *arguments))
        return rule(coefficients, *arguments)

    return step


class Places(NamedTuple):
    """What windows hold. pixel: its number in the flattened image, (tiles, *window); inside: whether there is one, None
    where there always is."""

    pixel: Tensor
    inside: Tensor | None


def places(windows: Windows) -> Places:
    axes, index = _axes(windows), torch.zeros_like(windows.tiles.example)
    for axis, size in zip(axes, windows.image, strict=True):
        index = index.unsqueeze(-1) * size + _along_last(axis.clamp(0, size - 1), index.dim() + 1)
    return Places(index, None if windows.fits else _in_image(axes, windows.image))


def cut(value: Tensor, windows: Windows, at: Places | None = None, outside: float = 0) -> Tensor:
    """The windows of a value (batch | 1, channels, *image), `outside` beyond it: (tiles | 1, channels, *window).

    at: `places(windows)`, if it is known already.
    """
    if windows.field is None:
        return value if len(value) == 1 else value.index_select(0, windows.tiles.example)
    index, inside = places(windows) if at is None else at
    if len(value) > 1:
        first = windows.tiles.example * math.prod(windows.image)
        index = index + first.reshape(-1, *[1] * (index.dim() - 1))
    # with channels last in memory this copies runs of channels
    pixels = value.movedim(1, -1).reshape(-1, value.shape[1])
    found = pixels.index_select(0, index.flatten()).unflatten(0, index.shape)
    if inside is not None:
        found = torch.where(inside.unsqueeze(-1), found, outside)
    found = found.movedim(-1, 1)
    return found if channels_last(windows.values) else found.contiguous()


def channels_last(coefficients: Tensor) -> bool:
    """Whether channels, dimension 2 of coefficients over an image, lie next to each other in memory."""
    return coefficients.dim() > 3 and adjacent(coefficients, 2)


def adjacent(tensor: Tensor, dim: int) -> bool:
    return tensor.stride(dim) == 1 and tensor.shape[dim] > 1


def within(windows: Windows) -> Windows:
    """Zero beyond the edges of the image: what a step says of places outside is about padding, not about the node."""
    if windows.inside or windows.fits:
        return windows._replace(inside=True)
    mask = _in_image(_axes(windows), windows.image)
    return windows._replace(values=windows.values * mask[:, None, None], inside=True)


def fitted(windows: Windows) -> Windows:
    """The same coefficients on the whole image, if that is not larger than the window."""
    return whole(windows) if math.prod(windows.image) <= math.prod(windows.sizes) else windows


def whole(windows: Windows) -> Windows:
    """The same coefficients over the whole image, zero outside the windows."""
    if windows.field is None:
        return windows
    values = windows.values
    for dim in range(len(windows.image)):
        values = _placed(values, windows, dim)
    return Windows(values, windows.tiles, None, windows.image)


def _placed(values: Tensor, windows: Windows, dim: int) -> Tensor:
    """Along one dimension, from windows to the image."""
    window, size, begin = windows.sizes[dim], windows.image[dim], _begin(windows, dim)
    source = torch.arange(size, device=begin.device) - begin.unsqueeze(1)  # (tiles, image)
    inside = (source >= 0) & (source < window)
    axis = dim + 3
    view = (len(begin), *[1] * (axis - 1), size, *[1] * (values.dim() - axis - 1))
    shape = (*values.shape[:axis], size, *values.shape[axis + 1 :])
    found = values.gather(axis, source.clamp(0, window - 1).reshape(view).expand(shape))
    return found * inside.reshape(view)


def joined(first: Windows, second: Windows) -> Windows:
    """The sum of two forms of one node, whose windows may differ: on the smallest windows that hold both."""
    if first.field is None or second.field is None or first.field.stride != second.field.stride:
        first, second = whole(first), whole(second)
        return first.of(first.values + second.values)
    starts = tuple(map(min, first.field.start, second.field.start))
    ends = tuple(map(max, _ends(first), _ends(second)))
    values = _widened(first, starts, ends) + _widened(second, starts, ends)
    field = Field(first.field.stride, starts)
    return fitted(Windows(values, first.tiles, field, first.image, first.inside and second.inside))


def _ends(windows: Windows) -> list[int]:
    assert windows.field is not None
    return [start + size for start, size in zip(windows.field.start, windows.sizes, strict=True)]


def _widened(windows: Windows, starts: Sequence[int], ends: Sequence[int]) -> Tensor:
    """Values with zeros around them, on windows from `starts` to `ends`."""
    assert windows.field is not None
    before = [old - start for old, start in zip(windows.field.start, starts, strict=True)]
    behind = [end - old for end, old in zip(ends, _ends(windows), strict=True)]
    zeros = [n for pair in zip(reversed(before), reversed(behind), strict=True) for n in pair]
    return F.pad(windows.values, zeros) if any(zeros) else windows.values


def _begin(windows: Windows, dim: int) -> Tensor:
    assert windows.field is not None
    return windows.tiles.position[:, dim] * windows.field.stride[dim] + windows.field.start[dim]


def _axes(windows: Windows) -> list[Tensor]:
    """Per dimension where in the image the windows lie: (tiles, window)."""
    device = windows.values.device
    return [_begin(windows, dim).unsqueeze(1) + torch.arange(n, device=device) for dim, n in enumerate(windows.sizes)]


def _in_image(axes: Sequence[Tensor], image: Sequence[int]) -> Tensor:
    """Which pixels are in the image: (tiles, *window)."""
    mask = torch.ones(len(axes[0]), dtype=torch.bool, device=axes[0].device)
    for axis, size in zip(axes, image, strict=True):
        mask = mask.unsqueeze(-1) & _along_last((axis >= 0) & (axis < size), mask.dim() + 1)
    return mask


def _along_last(values: Tensor, dims: int) -> Tensor:
    """(tiles, n) as (tiles, 1, ..., n) with so many dimensions."""
    return values.reshape(len(values), *[1] * (dims - 2), -1)
