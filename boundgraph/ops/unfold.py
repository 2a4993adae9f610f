"""Patches of images as columns (im2col), their sum back into images (col2im), and windows along one dimension."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.batch import require_inner_dims
from boundgraph.errors import GraphError
from boundgraph.pooling import require_batched
from boundgraph.rearranging import rearrangement

aten = torch.ops.aten


def unfold(x: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """(batch, channels, height, width) -> (batch, channels * kernel elements, patches)."""
    return F.unfold(x, kernel_size, dilation, padding, stride)


def unfold_requires(shape: torch.Size, *_: Any) -> None:
    require_batched(shape, 2, "unfold")


UNFOLD = rearrangement(unfold, (F.unfold, aten.im2col.default), requires=unfold_requires)


def fold(x: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """(batch, channels * kernel elements, patches) -> (batch, channels, *output_size); overlapping patches add up."""
    return F.fold(x, output_size, kernel_size, dilation, padding, stride)


def fold_requires(shape: torch.Size, *_: Any) -> None:
    if len(shape) != 3:
        raise GraphError(f"fold needs shape (batch, channels * kernel elements, patches), not {tuple(shape)}")


FOLD = rearrangement(fold, (F.fold, aten.col2im.default), requires=fold_requires)


def windows(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All slices of a size along a dimension, each a step after the other, in a new last dimension."""
    return x.unfold(dimension, size, step)


def windows_requires(shape: torch.Size, dimension: int, size: int, step: int) -> None:
    require_inner_dims(dimension, len(shape), f"unfold(dimension={dimension})")


WINDOWS = rearrangement(windows, ("unfold", aten.unfold.default), requires=windows_requires)
