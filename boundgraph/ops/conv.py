"""Convolution in 1, 2 and 3 dimensions: stride, padding (numbers, "same", "valid"), dilation, groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.errors import GraphError
from boundgraph.linear_forms import fold_rows, lower_through, shifted, unfold_rows
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval, LinearForm, Relaxation, from_center

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
    return from_center(forward(x.center, weight, bias, *geometry), forward(x.radius, weight.abs(), None, *geometry))


def backward(
    form: LinearForm,
    x: Interval,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> LinearForm:
    """The adjoint of a convolution: the transposed one, onto exactly the positions of the input."""
    dims = weight.dim() - 2
    stride, dilation = _per_dim(stride, dims), _per_dim(dilation, dims)
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    before, after = _padding(padding, reach)
    sizes = zip(x.shape[2:], form.coefficients.shape[3:], stride, before, after, reach, strict=True)
    # with padding p on both sides the transposed convolution reaches (out - 1) * stride - 2 p + reach + 1 positions;
    # the rest of the input was only skipped by the stride
    missing = [size - (out - 1) * s + p + q - r - 1 for size, out, s, p, q, r in sizes]
    symmetric = before == after
    pulled = _TRANSPOSED[dims](
        fold_rows(form.coefficients),
        weight,
        None,
        stride,
        before if symmetric else [0] * dims,
        missing if symmetric else [0] * dims,
        groups,
        dilation,
    )
    if not symmetric:  # "same" with an even kernel pads one more behind than before; its stride is 1
        for dim in range(dims):
            pulled = pulled.narrow(dim + 2, before[dim], x.shape[dim + 2])
    constant = form.bias if bias is None else form.bias + form.coefficients.flatten(3).sum(3) @ bias
    return LinearForm(unfold_rows(pulled, form), constant)


def fused(
    form: LinearForm, relaxation: Relaxation, x: Interval, weight: Tensor, bias: Tensor | None = None, *geometry: Any
) -> LinearForm:
    """`backward` after the relaxation of the activation above, with the bias as part of its intercepts."""
    per_channel = None if bias is None else bias.reshape(-1, *[1] * (weight.dim() - 2))
    return backward(lower_through(form, shifted(relaxation, per_channel)), x, weight, None, *geometry)


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


def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, _: Any, groups: int
) -> tuple:
    if transposed:
        raise Refused("transposed convolutions have no bound rule yet")
    return x, weight, bias, stride, padding, dilation, groups


CONV = register(
    Operator(
        name="conv",
        forward=forward,
        interval=interval,
        backward=backward,
        fused=fused,
        spellings=(
            *(F.conv1d, F.conv2d, F.conv3d),
            *(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default),
            *(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding),
            (aten.convolution.default, _convolution),
        ),
    )
)
