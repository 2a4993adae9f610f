"""Power-average pooling in 1, 2 and 3 dimensions: (sum of x^p over a window)^(1/p), which is written out."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch.nn import functional as F

from boundgraph.operator import Expansion, register_rewrite
from boundgraph.pooling import per_dim

_AVERAGES: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMA: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _written_out(
    dims: int, input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    if norm_type == math.inf:
        return _MAXIMA[dims](input.abs(), kernel_size, stride, 0, 1, ceil_mode)
    if norm_type == -math.inf:
        return -_MAXIMA[dims](-input.abs(), kernel_size, stride, 0, 1, ceil_mode)
    average, members = _AVERAGES[dims], math.prod(per_dim(kernel_size, dims))
    if norm_type == 1:
        return average(input, kernel_size, stride, 0, ceil_mode) * members
    # torch takes the size of the sum and gives it back its sign, which is to do nothing
    return (average(input.pow(norm_type), kernel_size, stride, 0, ceil_mode) * members).pow(1.0 / norm_type)


LP_POOL = register_rewrite(
    Expansion(
        name="lp_pool",
        adapters={
            F.lp_pool1d: partial(_written_out, 1),
            F.lp_pool2d: partial(_written_out, 2),
            F.lp_pool3d: partial(_written_out, 3),
        },
    )
)
