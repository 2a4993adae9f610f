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


def require_batched(x: Tensor, dims: int, what: str) -> Tensor:
    if x.dim() != dims + 2:
        raise GraphError(
            f"{what} over {dims} dimension(s) needs shape (batch, channels, ...) with {dims + 2} dimensions, "
            f"not {tuple(x.shape)}"
        )
    return x


def window_indices(
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    geometry: tuple[Sequence[int], ...],
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """For each window its members, as indices into the flattened input, and whether they lie inside it.

    geometry: kernel size, stride, padding and dilation per spatial dimension.
    Both have shape (windows, kernel elements). Members in the padding have index 0 and are marked as outside.
    """
    index = torch.zeros((1, 1), dtype=torch.long, device=device)
    inside = torch.ones((1, 1), dtype=torch.bool, device=device)
    for size, outputs, k, s, p, d in zip(input_shape, output_shape, *geometry, strict=True):
        starts = torch.arange(outputs, device=device).unsqueeze(1) * s - p
        position = starts + torch.arange(k, device=device) * d  # (outputs, k)
        valid = (position >= 0) & (position < size)
        index = (
            (index[:, None, :, None] * size + position.clamp(0, size - 1)[None, :, None, :]).flatten(2).flatten(0, 1)
        )
        inside = (inside[:, None, :, None] & valid[None, :, None, :]).flatten(2).flatten(0, 1)
    return index.masked_fill(~inside, 0), inside
