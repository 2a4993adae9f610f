"""Choice between two values by a constant condition: torch.where, masked_fill. Linear in what is chosen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.broadcasting import broadcast_checked, scaled
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval, center_of
from boundgraph.windows import Windows

aten = torch.ops.aten


def forward(condition: Tensor, x: Any, y: Any) -> Any:
    return torch.where(condition, x, y)


def interval(condition: Tensor, x: Any, y: Any) -> Interval:
    # exact: each element is that of one operand; an infinite constant has the radius 0
    center = torch.where(condition, center_of(x), center_of(y))
    of_x, of_y = (operand.radius if isinstance(operand, Interval) else 0.0 for operand in (x, y))
    radius = torch.where(condition, of_x, of_y)
    return broadcast_checked(Interval.around(center, radius), x, y)


def backward(
    coefficients: Tensor | Windows, condition: Tensor, x: Any, y: Any
) -> Tensor | Windows | tuple[Tensor | Windows, ...]:
    pairs = ((x, condition), (y, condition.logical_not()))
    shape = torch.broadcast_shapes(condition.shape, *(part.shape for part in (x, y) if hasattr(part, "shape")))[1:]
    pulled = tuple(
        scaled(coefficients, operand, _expanded(chosen, shape).to(operand.dtype))
        for operand, chosen in pairs
        if isinstance(operand, Interval)
    )
    return pulled[0] if len(pulled) == 1 else pulled


def _expanded(chosen: Tensor, shape: torch.Size) -> Tensor:
    """(batch | 1, *shape)."""
    return chosen.expand(len(chosen) if chosen.dim() > len(shape) else 1, *shape)


def of_bounded_condition(condition: Any, x: Any, y: Any) -> Any:
    raise Refused(
        "a condition on a perturbed value has no bounds; where it can be said by a maximum, a clamp or a ReLU, that has"
    )


def _of_method(x: Any, condition: Any, y: Any) -> tuple:
    return condition, x, y


def _masked_fill(input: Any, mask: Any, value: Any) -> tuple:
    return mask, value, input


WHERE = register(
    Operator(
        name="where",
        forward=forward,
        interval=interval,
        backward=backward,
        windowed=True,
        operands=("x", "y"),
        joint=True,
        elementwise=True,
        otherwise=of_bounded_condition,
        spellings=(
            *(torch.where, aten.where.self, aten.where.ScalarSelf, aten.where.ScalarOther, ("where", _of_method)),
            *((s, _masked_fill) for s in (torch.masked_fill, "masked_fill", "masked_fill_")),
            *((s, _masked_fill) for s in (aten.masked_fill.Scalar, aten.masked_fill.Tensor)),
        ),
    )
)
