"""Hyperbolic tangent: rising, convex below 0 and concave above."""

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
    return torch.tanh(x)


def interval(x: Interval) -> Interval:
    return Interval(torch.tanh(x.lower), torch.tanh(x.upper))


def slope_at(x: Tensor) -> Tensor:
    """1 - tanh(x)^2 = 4 s (1 - s) with s the sigmoid of 2 x, which keeps its digits for large |x|."""
    return 4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x)


def curvature_at(x: Tensor) -> Tensor:
    return -2 * torch.tanh(x) * slope_at(x)


def point_with_slope(slope: Tensor) -> Tensor:
    """The x >= 0 at which tanh has this slope: tanh x = sqrt(1 - slope), x = log((1 + t)^2 / slope) / 2."""
    t = (1 - slope).clamp(min=0).sqrt()
    return torch.log((1 + t) ** 2 / slope) / 2


def relax(x: Interval) -> Relaxation:
    return s_shaped(torch.tanh, slope_at, curvature_at, point_with_slope, x)


TANH = register(
    Operator(
        name="tanh",
        forward=forward,
        interval=interval,
        relax=relax,
        spellings=(torch.tanh, F.tanh, "tanh", "tanh_", torch.tanh_, aten.tanh.default, aten.tanh_.default),
        definition=sympy.tanh(X),
    )
)
