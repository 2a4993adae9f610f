"""Logistic sigmoid, 1 / (1 + exp(-x)): rising, convex below 0 and concave above."""

from __future__ import annotations

import sympy
import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Operator, X, register
from boundgraph.relaxations import s_shaped
from boundgraph.values import Interval, Relaxation

aten = torch.ops.aten


def forward(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


def interval(x: Interval) -> Interval:
    return Interval(torch.sigmoid(x.lower), torch.sigmoid(x.upper))


def slope_at(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


def curvature_at(x: Tensor) -> Tensor:
    return slope_at(x) * (1 - 2 * torch.sigmoid(x))


def point_with_slope(slope: Tensor) -> Tensor:
    """The x >= 0 at which the sigmoid has this slope: s (1 - s) = slope, x = log(s / (1 - s)), s >= 1/2."""
    root = (1 - 4 * slope).clamp(min=0).sqrt()
    # 1 - root loses every digit for small slopes; 4 slope / (1 + root) is the same and loses none
    return torch.log((1 + root) ** 2 / (4 * slope))


def relax(x: Interval) -> Relaxation:
    return s_shaped(torch.sigmoid, slope_at, curvature_at, point_with_slope, x)


SIGMOID = register(
    Operator(
        name="sigmoid",
        forward=forward,
        interval=interval,
        relax=relax,
        spellings=(torch.sigmoid, F.sigmoid, torch.special.expit, "sigmoid", "sigmoid_", torch.sigmoid_,
                   aten.sigmoid.default, aten.sigmoid_.default),
        definition=1 / (1 + sympy.exp(-X)),
    )
)  # fmt: skip
