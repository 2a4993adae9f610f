"""The same numbers in another floating-point format or on another device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from boundgraph.errors import GraphError
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Tensor, targets: Any) -> Tensor:
    """targets: dtypes, devices, or tensors to take these from."""
    for target in targets:
        x = x.to(target)
    return x


def interval(x: Interval, targets: Any) -> Interval:
    # sound: rounding to another format is monotone
    result = x.through(lambda value: forward(value, targets))
    if not result.lower.is_floating_point():
        raise GraphError(f"conversion of a bounded value to {result.lower.dtype} jumps, and has no bound rule")
    return result


def backward(coefficients: Tensor, x: Interval, targets: Any) -> Tensor:
    return coefficients.to(x.center)


def _arguments(x: Any, *arguments: Any, **keywords: Any) -> tuple:
    given = (*arguments, *keywords.values())
    targets = tuple(value for value in given if isinstance(value, torch.dtype | torch.device | str | fx.Node))
    for target in targets:
        if isinstance(target, torch.dtype) and not target.is_floating_point:
            raise Refused(f"conversion to {target} jumps, and has no bound rule")
    return x, targets


def _to(dtype: torch.dtype) -> Any:
    return lambda x, memory_format=None: (x, (dtype,))


CONVERT = register(
    Operator(
        name="convert",
        forward=forward,
        interval=interval,
        backward=backward,
        elementwise=True,
        spellings=(
            *((s, _arguments) for s in ("to", "type_as", aten.to.dtype, aten.to.dtype_layout, aten.to.device)),
            *((s, _arguments) for s in (aten.to.other, aten._to_copy.default, aten.type_as.default)),
            *(("float", _to(torch.float32)), ("double", _to(torch.float64)), ("half", _to(torch.float16))),
            ("bfloat16", _to(torch.bfloat16)),
        ),
    )
)
