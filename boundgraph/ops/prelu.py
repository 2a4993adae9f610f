"""PReLU, x for x >= 0 and w x below, with a weight that trains, one for all or one per channel (He et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Operator, register
from boundgraph.relaxations import interval_between, kinked
from boundgraph.values import Interval, Relaxation

aten = torch.ops.aten


def forward(x: Tensor, weight: Tensor) -> Tensor:
    return F.prelu(x, weight)


def interval(x: Interval, weight: Tensor) -> Interval:
    # the kink is the only possible turning point (it is one where the weight is < 0)
    return interval_between(lambda value: F.prelu(value, weight), x, turning_points=(0.0,))


def relax(x: Interval, weight: Tensor, slope: str = "adaptive") -> Relaxation:
    return kinked(x, left_slope=_beside(weight, x), choice=slope)


def unstable(x: Interval, weight: Tensor) -> Tensor:
    return (x.lower < 0) & (x.upper > 0)


def _beside(weight: Tensor, x: Interval) -> Tensor:
    """The weight along dimension 1, the channels: (1, channels | 1, 1, ...)."""
    return weight.reshape(1, -1, *[1] * (len(x.shape) - 2))


PRELU = register(
    Operator(
        name="prelu",
        forward=forward,
        interval=interval,
        relax=relax,
        unstable=unstable,
        spellings=(F.prelu, torch.prelu, "prelu", aten.prelu.default),
    )
)
