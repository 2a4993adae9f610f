"""Geometry of pooling windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from boundgraph.errors import GraphError


def per_dim(option: Any, dims: int) -> list[int]:
    """An option given once, or per spatial dimension, as one number per dimension."""
    values = [option] if isinstance(option, int) else list(option)
    return values * dims if len(values) == 1 else values


def require_batched(shape: Sequence[int], dims: int, what: str) -> None:
    if len(shape) != dims + 2:
        raise GraphError(
            f"{what} over {dims} dimension(s) needs shape (batch, channels, ...) with {dims + 2} dimensions, "
            f"not {tuple(shape)}"
        )


Members = tuple[Tensor, Tensor]
"""For each window its members, as indices into the flattened input, and whether they lie inside it: (windows, kernel
elements) both. Members outside have index 0."""


def window_indices(
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    geometry: tuple[Sequence[int], ...],
    device: torch.device,
) -> Members:
    """Windows of one size. geometry: kernel size, stride, padding and dilation per spatial dimension."""
    axes = []
    for size, outputs, k, s, p, d in zip(input_shape, output_shape, *geometry, strict=True):
        starts = torch.arange(outputs, device=device).unsqueeze(1) * s - p
        position = starts + torch.arange(k, device=device) * d  # (outputs, k)
        axes.append((position, (position >= 0) & (position < size)))
    return _joined(axes, input_shape)


def adaptive_indices(input_shape: Sequence[int], output_shape: Sequence[int], device: torch.device) -> Members:
    """Windows that share the input evenly: number i of n reaches from floor(i size / n) to ceil((i + 1) size / n)."""
    axes = []
    for size, outputs in zip(input_shape, output_shape, strict=True):
        number = torch.arange(outputs, device=device).unsqueeze(1)
        start, end = number * size // outputs, -(-(number + 1) * size // outputs)
        longest = max((-(-(i + 1) * size // outputs) - i * size // outputs for i in range(outputs)), default=0)
        position = start + torch.arange(longest, device=device)
        axes.append((position, position < end))
    return _joined(axes, input_shape)


def _joined(axes: Sequence[Members], input_shape: Sequence[int]) -> Members:
    """Of windows along each dimension their products."""
    device = axes[0][0].device
    index = torch.zeros((1, 1), dtype=torch.long, device=device)
    inside = torch.ones((1, 1), dtype=torch.bool, device=device)
    for (position, valid), size in zip(axes, input_shape, strict=True):
        index = index[:, None, :, None] * size + position.clamp(0, size - 1)[None, :, None, :]
        index = index.flatten(2).flatten(0, 1)
        inside = (inside[:, None, :, None] & valid[None, :, None, :]).flatten(2).flatten(0, 1)
    return index.masked_fill(~inside, 0), inside
