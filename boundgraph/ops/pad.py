"""Padding of the last dimensions with a constant, or with what is there already: reflect, replicate, circular.

Negative sizes cut off; only the other modes read elements more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.errors import GraphError
from boundgraph.linear_forms import transposed
from boundgraph.operator import Operator, register
from boundgraph.values import Interval
from boundgraph.windows import Field, Windows, fitted, whole, within

aten = torch.ops.aten


def forward(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """pad: sizes before and behind, from the last dimension on."""
    return F.pad(x, pad, mode, value)


def interval(x: Interval, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Interval:
    if any(pad[2 * len(x.shape) - 2 :]):
        raise GraphError(f"pad{tuple(pad)} pads dimension 0 of a value of shape {tuple(x.shape)}, which is the batch")
    if x.made_of_ends:
        return Interval(forward(x.lower, pad, mode, value), forward(x.upper, pad, mode, value))
    # what is padded with is known exactly
    return Interval.around(forward(x.center, pad, mode, value), forward(x.radius, pad, mode, None))


def backward(
    coefficients: Tensor | Windows, x: Interval, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor | Windows:
    """Coefficients of padding are dropped, those of copies go to what they are copies of."""
    if isinstance(coefficients, Tensor):
        return _pulled(coefficients, x, pad, mode)
    field = coefficients.field
    if mode == "constant" and field is not None and not any(pad[2 * len(field.start) :]):
        start = tuple(b - size for b, size in zip(field.start, _before(pad, len(field.start)), strict=True))
        kept = within(coefficients)
        return fitted(kept._replace(field=Field(field.stride, start), image=tuple(x.shape[2:]), inside=False))
    full = whole(coefficients)
    return full._replace(values=_pulled(full.values, x, pad, mode), image=tuple(x.shape[2:]))


def _pulled(coefficients: Tensor, x: Interval, pad: Sequence[int], mode: str) -> Tensor:
    if mode == "constant":
        return F.pad(coefficients, [-size for size in pad])
    return transposed(forward, coefficients, x, pad, mode)


def _before(pad: Sequence[int], dims: int) -> list[int]:
    """What is padded before each of the last dimensions, the first of them first."""
    sizes = [*pad[::2], *[0] * dims][:dims]
    return sizes[::-1]


def _with_constant(x: Any, pad: Any, value: float = 0) -> tuple:
    return x, pad, "constant", value


def _with_copies(mode: str) -> Any:
    return lambda x, padding: (x, padding, mode, None)


_COPIES = {
    "reflect": (aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d),
    "replicate": (aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d),
}

PAD = register(
    Operator(
        name="pad",
        forward=forward,
        interval=interval,
        backward=backward,
        windowed=True,
        spellings=(
            F.pad,
            aten.pad.default,
            (aten.constant_pad_nd.default, _with_constant),
            *((packet.default, _with_copies(mode)) for mode, packets in _COPIES.items() for packet in packets),
        ),
    )
)
