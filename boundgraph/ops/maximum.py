"""The larger, or the smaller, of two values, element by element; one or both carry bounds.

Among the planes above max(x, y) that pass through the corners where the two operands differ most, all of which are
equally high at the centre, this takes the one whose largest value on the box is that of the maximum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from boundgraph.broadcasting import require_same_dims, sum_to
from boundgraph.linear_forms import lower_through
from boundgraph.operator import Expansion, Operator, register, register_rewrite
from boundgraph.relaxations import or_one, positive
from boundgraph.values import Interval, Line, Relaxation, center_of, lower_of, upper_of

aten = torch.ops.aten


class Planes(NamedTuple):
    """Planes around the maximum: for each operand with bounds the slopes in it, with the first one the intercepts."""

    parts: tuple[Relaxation, ...]  # (batch, *output_shape)
    shapes: tuple[torch.Size, ...]  # of the operands


def forward(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x, y)


def interval(x: Any, y: Any) -> Interval:
    lower, upper = torch.maximum(lower_of(x), lower_of(y)), torch.maximum(upper_of(x), upper_of(y))
    require_same_dims(lower.shape, x, y)
    return Interval(lower, upper)


def relax(x: Any, y: Any) -> Planes:
    # the most that each can be where it is the larger one
    x_most, y_most = torch.maximum(upper_of(x), lower_of(y)), torch.maximum(upper_of(y), lower_of(x))
    # sound: let x have the larger upper bound. Then max(x, y) <= max(x, upper of y), a convex function of x, below its
    # chord, which joins (lower of x, y_most) and (upper of x, x_most)
    above = (x_most + y_most) / 2  # at the centres
    # sound: a maximum is at least each of the two; this is the one with the larger centre
    x_ahead = positive(center_of(x) - center_of(y))
    below, parts, shapes = None, [], []
    for operand, ahead, rise in ((x, x_ahead, x_most - y_most), (y, 1 - x_ahead, y_most - x_most)):
        if isinstance(operand, Interval):
            slope = _slope_of_chord(rise, operand)
            above = above - slope * operand.center
            parts.append(Relaxation(Line(ahead), Line(slope)))
            shapes.append(operand.shape)
        else:
            below = torch.where(ahead > 0, operand, 0)
    (lower, upper), *others = parts
    first = Relaxation(lower._replace(intercept=below), upper._replace(intercept=above))
    return Planes((first, *others), tuple(shapes))


def _slope_of_chord(rise: Tensor, x: Interval) -> Tensor:
    return rise.relu() / or_one(x.upper - x.lower)  # at width 0 there is no rise


def through(coefficients: Tensor, planes: Planes) -> tuple[Tensor | tuple[Tensor, ...], Tensor]:
    """To each operand through the slopes in it."""
    found = [lower_through(coefficients, part) for part in planes.parts]
    pulled = tuple(sum_to(form, shape) for (form, _), shape in zip(found, planes.shapes, strict=True))
    return pulled[0] if len(pulled) == 1 else pulled, found[0][1]


MAXIMUM = register(
    Operator(
        name="maximum",
        forward=forward,
        interval=interval,
        relax=relax,
        through=through,
        operands=("x", "y"),
        joint=True,
        elementwise=True,
        spellings=(torch.maximum, "maximum", aten.maximum.default, torch.fmax, "fmax", aten.fmax.default),
    )
)


def _smaller(input: Any, other: Any) -> Any:
    return -torch.maximum(-input, -other)


register_rewrite(
    Expansion(
        "minimum",
        dict.fromkeys(
            (torch.minimum, "minimum", aten.minimum.default, torch.fmin, "fmin", aten.fmin.default), _smaller
        ),
    )
)
