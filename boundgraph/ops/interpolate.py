"""Resampling of images to another size: nearest, linear, cubic, area, in 1, 2 and 3 dimensions."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.errors import GraphError
from boundgraph.linear_forms import transposed
from boundgraph.operator import Operator, register
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    return F.interpolate(x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)


def interval(x: Interval, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *options: Any) -> Interval:
    antialias = options[2:] == (True,)
    if len(x.shape) < 3 or (antialias and 1 in x.shape[2:]):
        raise GraphError(
            f"resampling needs shape (batch, channels, ...), not {tuple(x.shape)}, and more than one pixel each way "
            "where antialias=True: of one column torch 2.13 computes something else"
        )
    if mode != "bicubic":  # all other modes are means, with weights >= 0
        return x.through(lambda value: forward(value, size, scale_factor, mode, *options))
    center = forward(x.center, size, scale_factor, mode, *options)
    rows, columns = (_weights(x, dim, size, scale_factor, mode, *options) for dim in (0, 1))
    # exact: the weight of a pixel is that of its row times that of its column, and so are their absolute values
    return Interval.around(center, rows.abs() @ x.radius @ columns.abs().mT)


def _weights(x: Interval, dim: int, size: Any, scale_factor: Any, *options: Any) -> Tensor:
    """The matrix that resamples one dimension of an image, from what becomes of images of one row, unit vectors."""
    units = torch.eye(x.shape[2 + dim], dtype=x.dtype, device=x.device)[None, :, None]
    return forward(units, _of_row(size, dim), _of_row(scale_factor, dim), *options)[0, :, 0].mT


def _of_row(option: Any, dim: int) -> Any:
    """The option of one dimension for images of one row."""
    return option if option is None else [1, option if isinstance(option, int | float) else option[dim]]


def backward(coefficients: Tensor, x: Interval, *options: Any) -> Tensor:
    return transposed(forward, coefficients, x, *options)


def _to_size(mode: str, input: Any, output_size: Any, scale_factors: Any = None) -> tuple:
    return input, output_size, scale_factors, mode


def _with_corners(
    mode: str, antialias: bool, input: Any, output_size: Any, align_corners: bool, scale_factors: Any = None
) -> tuple:
    return input, output_size, scale_factors, mode, align_corners, None, antialias


_NEAREST = {
    "nearest": (aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d),
    "nearest-exact": (aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d, aten._upsample_nearest_exact3d),
}
_SMOOTH = {
    ("linear", False): aten.upsample_linear1d,
    ("bilinear", False): aten.upsample_bilinear2d,
    ("bicubic", False): aten.upsample_bicubic2d,
    ("trilinear", False): aten.upsample_trilinear3d,
    ("bilinear", True): aten._upsample_bilinear2d_aa,
    ("bicubic", True): aten._upsample_bicubic2d_aa,
}

INTERPOLATE = register(
    Operator(
        name="interpolate",
        forward=forward,
        interval=interval,
        backward=backward,
        spellings=(
            F.interpolate,
            *((packet.vec, partial(_to_size, mode)) for mode, packets in _NEAREST.items() for packet in packets),
            *((packet.vec, partial(_with_corners, *kind)) for kind, packet in _SMOOTH.items()),
        ),
    )
)
