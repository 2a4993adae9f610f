"""LeakyReLU, x for x >= 0 and a x below: convex for a < 1, concave for a > 1, not monotone for a < 0.

RReLU (Xu et al. 2015) draws a at random in train mode, and is LeakyReLU with the mean a in eval mode.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Operator, Random, register
from boundgraph.relaxations import interval_between, kinked
from boundgraph.values import Interval, Relaxation

aten = torch.ops.aten


def forward(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    return F.leaky_relu(x, negative_slope)


def interval(x: Interval, negative_slope: float = 0.01) -> Interval:
    # the kink is the only possible turning point (it is one when negative_slope < 0)
    return interval_between(lambda value: F.leaky_relu(value, negative_slope), x, turning_points=(0.0,))


def relax(x: Interval, negative_slope: float = 0.01, slope: str = "adaptive") -> Relaxation:
    return kinked(x, left_slope=negative_slope, choice=slope)


def unstable(x: Interval, negative_slope: float = 0.01) -> Tensor:
    return (x.lower < 0) & (x.upper > 0)


def _rrelu(
    input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None
) -> tuple:
    if training:
        raise Random("rrelu in train mode is random and has no bounds; call .eval()")
    return input, (lower + upper) / 2


LEAKY_RELU = register(
    Operator(
        name="leaky_relu",
        forward=forward,
        interval=interval,
        relax=relax,
        unstable=unstable,
        spellings=(
            *(F.leaky_relu, F.leaky_relu_, aten.leaky_relu.default, aten.leaky_relu_.default),
            *(
                (spelling, _rrelu)
                for spelling in (F.rrelu, F.rrelu_, torch.rrelu, aten.rrelu.default, aten.rrelu_.default)
            ),
        ),
    )
)
