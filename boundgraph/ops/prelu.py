"""PReLU, x for x >= 0 and a x below, with a learnt slope a for all channels or for each (He et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Operator, register
from boundgraph.relaxations import interval_between, kinked
from boundgraph.values import Interval, Relaxation

aten = torch.ops.aten


def forward(x: Tensor, weight: Tensor) -> Tensor:
    """x (batch, channels, *shape), weight (1,) or (channels,)."""
    return F.prelu(x, weight)


def interval(x: Interval, weight: Tensor) -> Interval:
    # the kink is the only possible turning point: it is one where the slope is negative
    return interval_between(lambda value: F.prelu(value, weight), x, turning_points=(0.0,))


def relax(x: Interval, weight: Tensor, slope: str = "adaptive") -> Relaxation:
    along_channels = weight.reshape(-1, *[1] * max(len(x.shape) - 2, 0))
    return kinked(x, along_channels, choice=slope)


def unstable(x: Interval, weight: Tensor) -> Tensor:
    return (x.lower < 0) & (x.upper > 0)


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
