"""Images sampled at constant places: nearest or (bi/tri)linear, for 2 and 3 dimensions (Jaderberg et al. 2015).

Places that depend on a perturbed value have no bounds; those of `F.affine_grid` of constants do not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.linear_forms import transposed
from boundgraph.operator import Refused
from boundgraph.rearranging import rearrangement
from boundgraph.values import Interval

aten = torch.ops.aten


def grid_sample(
    x: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """grid: (batch, *places, dims), coordinates from -1 to 1."""
    return F.grid_sample(x, grid, mode, padding_mode, bool(align_corners))


def grid_sample_backward(coefficients: Tensor, x: Interval, grid: Tensor, *options: Any) -> Tensor:
    rows = coefficients.shape[1]
    coefficients = coefficients.expand(len(grid), *coefficients.shape[1:])
    return transposed(grid_sample, coefficients, x, grid.repeat_interleave(rows, 0), *options)


def _options(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> tuple:
    if mode == "bicubic":
        raise Refused("grid_sample has bounds for the modes bilinear and nearest, whose weights are not negative")
    return input, grid, mode, padding_mode, align_corners


_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def _by_number(input: Any, grid: Any, mode: int, padding_mode: int, align_corners: bool) -> tuple:
    return _options(input, grid, _MODES[mode], _PADDINGS[padding_mode], align_corners)


GRID_SAMPLE = rearrangement(
    grid_sample,
    (
        (F.grid_sample, _options),
        *((spelling, _by_number) for spelling in (torch.grid_sampler, aten.grid_sampler.default,
                                                  aten.grid_sampler_2d.default, aten.grid_sampler_3d.default)),
    ),
    backward=grid_sample_backward,
    alike=False,
)  # fmt: skip
