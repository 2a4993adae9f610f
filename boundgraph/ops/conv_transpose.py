"""Transposed convolution in 1, 2 and 3 dimensions: stride, padding, output padding, dilation, groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.errors import GraphError
from boundgraph.linear_forms import fold_rows, unfold_rows
from boundgraph.operator import Operator, register
from boundgraph.values import Interval

aten = torch.ops.aten

_CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """weight: (channels of x, channels per group of y, *kernel)."""
    layer = _TRANSPOSED[weight.dim() - 2]
    return layer(x, weight, bias, stride, padding, output_padding, groups, dilation)


def interval(x: Interval, weight: Tensor, bias: Tensor | None = None, *geometry: Any) -> Interval:
    if len(x.shape) != weight.dim():
        raise GraphError(
            f"transposed convolution with weight {tuple(weight.shape)} needs an input of {weight.dim()} dimensions "
            f"with the batch first, not shape {tuple(x.shape)}; use x.unsqueeze(0) for a single example"
        )
    # exact for one layer, as for a matrix: the radius travels through |W|
    center = forward(x.center, weight, bias, *geometry)
    return Interval.around(center, forward(x.radius, weight.abs(), None, *geometry))


def backward(
    coefficients: Tensor,
    x: Interval,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The adjoint of a transposed convolution is the convolution itself, at the positions of the input."""
    layer = _CONVOLUTIONS[weight.dim() - 2]
    pulled = layer(fold_rows(coefficients), weight, None, stride, padding, dilation, groups)
    for dim, size in enumerate(x.shape[2:], 2):
        pulled = pulled.narrow(dim, 0, size)  # output padding of a stride or more makes room for further positions
    return unfold_rows(pulled, coefficients)


CONV_TRANSPOSE = register(
    Operator(
        name="conv_transpose",
        forward=forward,
        interval=interval,
        backward=backward,
        spellings=(
            *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
            *(aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input),
        ),
    )
)
