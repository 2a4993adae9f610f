"""Elements moved within their example: flip, roll, rot90."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.operator import Refused
from boundgraph.rearranging import dims_of, given_as_arguments, rearrangement

aten = torch.ops.aten


def flip(x: Tensor, dims: Any) -> Tensor:
    return x.flip(dims)


def flip_requires(shape: torch.Size, dims: Any) -> None:
    require_inner_dims(dims_of(dims), len(shape), f"flip({dims})")


def _left_right(input: Any) -> tuple:
    return input, (1,)


def _up_down(input: Any) -> tuple:
    return input, (0,)


FLIP = rearrangement(
    flip,
    (
        torch.flip,
        ("flip", given_as_arguments),
        aten.flip.default,
        *((spelling, _left_right) for spelling in (torch.fliplr, "fliplr", aten.fliplr.default)),
        *((spelling, _up_down) for spelling in (torch.flipud, "flipud", aten.flipud.default)),
    ),
    requires=flip_requires,
)


def roll(x: Tensor, shifts: Any, dims: Any) -> Tensor:
    return x.roll(shifts, dims)


def roll_requires(shape: torch.Size, shifts: Any, dims: Any) -> None:
    require_inner_dims(dims_of(dims), len(shape), f"roll(dims={dims})")


def _along_dims(input: Any, shifts: Any, dims: Any = ()) -> tuple:
    if dims is None or dims == () or dims == []:
        raise Refused("roll without dimensions moves elements from one example to the next; name them, e.g. dims=1")
    return input, shifts, dims


ROLL = rearrangement(
    roll,
    tuple((spelling, _along_dims) for spelling in (torch.roll, "roll", aten.roll.default)),
    requires=roll_requires,
)


def rot90(x: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    return x.rot90(k, dims)


def rot90_requires(shape: torch.Size, k: int = 1, dims: Any = (0, 1)) -> None:
    require_inner_dims(dims_of(dims), len(shape), f"rot90(dims={tuple(dims)})")


ROT90 = rearrangement(rot90, (torch.rot90, "rot90", aten.rot90.default), requires=rot90_requires)
