"""Reordering the dimensions of each example: permute and transpose."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_inner_dims
from boundgraph.errors import GraphError
from boundgraph.linear_forms import transposed
from boundgraph.operator import Expansion, Operator, Refused, register, register_rewrite
from boundgraph.rearranging import dims_of, rearrangement
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Tensor, dims: Any) -> Tensor:
    return x.permute(dims)


def interval(x: Interval, dims: Any) -> Interval:
    if dims[0] % len(x.shape) != 0:
        raise GraphError(f"permute{tuple(dims)} moves dimension 0, which must stay the batch")
    return x.through(lambda value: value.permute(dims))


def backward(coefficients: Tensor, x: Interval, dims: Any) -> Tensor:
    return transposed(forward, coefficients, x, dims)


def _dims_as_arguments(x: Any, *dims: Any, **keywords: Any) -> tuple:
    dims = dims or (keywords["dims"],)
    return x, dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims


PERMUTE = register(
    Operator(
        name="permute",
        forward=forward,
        interval=interval,
        backward=backward,
        spellings=(torch.permute, ("permute", _dims_as_arguments), aten.permute.default),
    )
)


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    return x.transpose(dim0, dim1)


def transpose_interval(x: Interval, dim0: int, dim1: int) -> Interval:
    require_inner_dims((dim0, dim1), len(x.shape), f"transpose({dim0}, {dim1})")
    return x.through(lambda value: value.transpose(dim0, dim1))


def transpose_backward(coefficients: Tensor, x: Interval, dim0: int, dim1: int) -> Tensor:
    return transposed(transpose, coefficients, x, dim0, dim1)


def _last_two(x: Any) -> tuple:
    return x, -2, -1


TRANSPOSE = register(
    Operator(
        name="transpose",
        forward=transpose,
        interval=transpose_interval,
        backward=transpose_backward,
        spellings=(torch.transpose, torch.swapaxes, torch.swapdims, "transpose", "swapaxes", "swapdims",
                   aten.transpose.int, aten.swapaxes.default, aten.swapdims.default,
                   (Tensor.mT, _last_two), (aten.mT.default, _last_two)),
    )
)  # fmt: skip


def _of_whole(input: Any) -> Any:
    raise Refused("it moves dimension 0, which must stay the batch; x.mT transposes the matrices of each example")


T = register_rewrite(
    Expansion("T", dict.fromkeys((Tensor.T, "t", torch.t, aten.t.default, aten.numpy_T.default), _of_whole))
)


def movedim(x: Tensor, source: Any, destination: Any) -> Tensor:
    return x.movedim(source, destination)


def movedim_requires(shape: torch.Size, source: Any, destination: Any) -> None:
    for dims in (source, destination):
        require_inner_dims(dims_of(dims), len(shape), f"movedim({source}, {destination})")


MOVEDIM = rearrangement(
    movedim,
    (
        torch.movedim,
        torch.moveaxis,
        "movedim",
        "moveaxis",
        aten.movedim.int,
        aten.movedim.intlist,
        aten.moveaxis.int,
        aten.moveaxis.intlist,
    ),
    requires=movedim_requires,
)
