"""Regrouping the elements of each example: reshape, view, flatten, squeeze, unsqueeze."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_same_examples
from boundgraph.linear_forms import fold_rows, reshaped_to, unfold_rows
from boundgraph.operator import Expansion, Operator, Refused, of_upstream_alone, register, register_rewrite
from boundgraph.rearranging import rearrangement
from boundgraph.values import Interval

aten = torch.ops.aten


def forward(x: Tensor, shape: Any) -> Tensor:
    return x.reshape(shape)


def interval(x: Interval, shape: Any) -> Interval:
    return x.through(lambda value: require_same_examples(value, value.reshape(shape), "reshape"))


def backward(coefficients: Tensor, x: Interval, shape: Any) -> Tensor:
    return reshaped_to(coefficients, x)


def _shape_as_arguments(x: Any, *shape: Any, **keywords: Any) -> tuple:
    if "dtype" in keywords or (len(shape) == 1 and isinstance(shape[0], torch.dtype)):
        raise Refused("view as another dtype has no bounds")
    shape = shape or (keywords["size"] if "size" in keywords else keywords["shape"],)
    return x, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape


RESHAPE = register(
    Operator(
        name="reshape",
        forward=forward,
        interval=interval,
        backward=backward,
        spellings=(torch.reshape, ("reshape", _shape_as_arguments), ("view", _shape_as_arguments), aten.reshape.default,
                   (aten.view.default, _shape_as_arguments), (aten._unsafe_view.default, _shape_as_arguments)),
    )
)  # fmt: skip


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return x.flatten(start_dim, end_dim)


def flatten_interval(x: Interval, start_dim: int = 0, end_dim: int = -1) -> Interval:
    return x.through(lambda value: require_same_examples(value, value.flatten(start_dim, end_dim), "flatten"))


def flatten_backward(coefficients: Tensor, x: Interval, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return reshaped_to(coefficients, x)


@of_upstream_alone
def flatten_gradient(
    upstream: Tensor, _: None, x: Interval, start_dim: int = 0, end_dim: int = -1
) -> tuple[Tensor, None, None, None]:
    flat = fold_rows(upstream).flatten(start_dim, end_dim)
    return unfold_rows(flat, upstream), None, None, None


FLATTEN = register(
    Operator(
        name="flatten",
        forward=flatten,
        interval=flatten_interval,
        backward=flatten_backward,
        gradient=flatten_gradient,
        spellings=(torch.flatten, "flatten", aten.flatten.using_ints),
    )
)


def squeeze(x: Tensor, dim: Any) -> Tensor:
    return x.squeeze(dim)


def squeeze_interval(x: Interval, dim: Any) -> Interval:
    return x.through(lambda value: require_same_examples(value, value.squeeze(dim), f"squeeze({dim})"))


def squeeze_backward(coefficients: Tensor, x: Interval, dim: Any) -> Tensor:
    return reshaped_to(coefficients, x)


def _named_dim(x: Any, dim: Any = None) -> tuple:
    if dim is None:
        raise Refused("squeeze() without a dimension also drops a batch of one example; name it, e.g. x.squeeze(-1)")
    return x, dim


SQUEEZE = register(
    Operator(
        name="squeeze",
        forward=squeeze,
        interval=squeeze_interval,
        backward=squeeze_backward,
        spellings=((torch.squeeze, lambda input, dim=None: _named_dim(input, dim)), ("squeeze", _named_dim),
                   aten.squeeze.dim, aten.squeeze.dims),
    )
)  # fmt: skip


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    return x.unsqueeze(dim)


def unsqueeze_interval(x: Interval, dim: int) -> Interval:
    return x.through(lambda value: require_same_examples(value, value.unsqueeze(dim), f"unsqueeze({dim})"))


def unsqueeze_backward(coefficients: Tensor, x: Interval, dim: int) -> Tensor:
    return reshaped_to(coefficients, x)


UNSQUEEZE = register(
    Operator(
        name="unsqueeze",
        forward=unsqueeze,
        interval=unsqueeze_interval,
        backward=unsqueeze_backward,
        spellings=(torch.unsqueeze, "unsqueeze", aten.unsqueeze.default),
    )
)


def unflatten(x: Tensor, dim: int, sizes: Any) -> Tensor:
    return x.unflatten(dim, sizes)


def unflatten_backward(coefficients: Tensor, x: Interval, dim: int, sizes: Any) -> Tensor:
    return reshaped_to(coefficients, x)


UNFLATTEN = rearrangement(unflatten, (torch.unflatten, "unflatten", aten.unflatten.int), backward=unflatten_backward)
RESHAPE_AS = register_rewrite(
    Expansion(
        name="reshape_as",
        adapters=dict.fromkeys(
            ("view_as", "reshape_as", aten.view_as.default, aten.reshape_as.default),
            lambda x, other: x.reshape(other.shape),
        ),
    )
)
