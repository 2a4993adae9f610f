"""Average pooling in 1, 2 and 3 dimensions, with every flag, and to a fixed output size (adaptive)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.linear_forms import transposed
from boundgraph.operator import Operator, Refused, register
from boundgraph.pooling import require_batched
from boundgraph.values import Interval

aten = torch.ops.aten

_POOLS: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def forward(x: Tensor, dims: int, *options: Any) -> Tensor:
    """`dims` spatial dimensions; options: kernel_size, stride, padding, ceil_mode, count_include_pad, divisor."""
    return _POOLS[dims](x, *options)


def interval(x: Interval, dims: int, *options: Any) -> Interval:
    require_batched(x.shape, dims, "average pooling")
    # a mean has weights >= 0, so it is monotone
    return x.through(lambda value: forward(value, dims, *options))


def backward(coefficients: Tensor, x: Interval, dims: int, *options: Any) -> Tensor:
    return transposed(forward, coefficients, x, dims, *options)


def _options(
    dims: int,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple:
    if divisor_override is not None and divisor_override <= 0:
        raise Refused(f"average pooling with divisor_override={divisor_override} is not a mean")
    stride = kernel_size if stride is None or stride == [] else stride
    common = (input, dims, kernel_size, stride, padding, ceil_mode, count_include_pad)
    return common if dims == 1 else (*common, divisor_override)


AVG_POOL = register(
    Operator(
        name="avg_pool",
        forward=forward,
        interval=interval,
        backward=backward,
        spellings=(
            *((spelling, partial(_options, 1)) for spelling in (F.avg_pool1d, aten.avg_pool1d.default)),
            *((spelling, partial(_options, 2)) for spelling in (F.avg_pool2d, aten.avg_pool2d.default)),
            *((spelling, partial(_options, 3)) for spelling in (F.avg_pool3d, aten.avg_pool3d.default)),
        ),
    )
)


def adaptive(x: Tensor, dims: int, output_size: Any) -> Tensor:
    return _ADAPTIVE[dims](x, output_size)


def adaptive_interval(x: Interval, dims: int, output_size: Any) -> Interval:
    require_batched(x.shape, dims, "adaptive average pooling")
    return x.through(lambda value: adaptive(value, dims, output_size))


def adaptive_backward(coefficients: Tensor, x: Interval, dims: int, output_size: Any) -> Tensor:
    return transposed(adaptive, coefficients, x, dims, output_size)


def _output_size(dims: int, input: Any, output_size: Any) -> tuple:
    return input, dims, output_size


ADAPTIVE_AVG_POOL = register(
    Operator(
        name="adaptive_avg_pool",
        forward=adaptive,
        interval=adaptive_interval,
        backward=adaptive_backward,
        spellings=(
            *((s, partial(_output_size, 1)) for s in (F.adaptive_avg_pool1d, aten.adaptive_avg_pool1d.default)),
            *((s, partial(_output_size, 2)) for s in (F.adaptive_avg_pool2d, aten.adaptive_avg_pool2d.default)),
            *((s, partial(_output_size, 3)) for s in (F.adaptive_avg_pool3d, aten.adaptive_avg_pool3d.default)),
        ),
    )
)
