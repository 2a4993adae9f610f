"""Regrouping the elements of each example: reshape, view, flatten, squeeze, unsqueeze."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.batch import require_same_examples
from boundgraph.linear_forms import reshaped_to
from boundgraph.operator import Operator, Refused, register
from boundgraph.values import Interval, LinearForm

aten = torch.ops.aten


def forward(x: Tensor, shape: Any) -> Tensor:
    return x.reshape(shape)


def interval(x: Interval, shape: Any) -> Interval:
    require_same_examples(x.lower, x.lower.reshape(shape), "reshape")
    return Interval(x.lower.reshape(shape), x.upper.reshape(shape))


def backward(form: LinearForm, x: Interval, shape: Any) -> LinearForm:
    return reshaped_to(form, x)


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
    lower = require_same_examples(x.lower, x.lower.flatten(start_dim, end_dim), "flatten")
    return Interval(lower, x.upper.flatten(start_dim, end_dim))


def flatten_backward(form: LinearForm, x: Interval, start_dim: int = 0, end_dim: int = -1) -> LinearForm:
    return reshaped_to(form, x)


FLATTEN = register(
    Operator(
        name="flatten",
        forward=flatten,
        interval=flatten_interval,
        backward=flatten_backward,
        spellings=(torch.flatten, "flatten", aten.flatten.using_ints),
    )
)


def squeeze(x: Tensor, dim: Any) -> Tensor:
    return x.squeeze(dim)


def squeeze_interval(x: Interval, dim: Any) -> Interval:
    lower = require_same_examples(x.lower, x.lower.squeeze(dim), f"squeeze({dim})")
    return Interval(lower, x.upper.squeeze(dim))


def squeeze_backward(form: LinearForm, x: Interval, dim: Any) -> LinearForm:
    return reshaped_to(form, x)


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
    lower = require_same_examples(x.lower, x.lower.unsqueeze(dim), f"unsqueeze({dim})")
    return Interval(lower, x.upper.unsqueeze(dim))


def unsqueeze_backward(form: LinearForm, x: Interval, dim: int) -> LinearForm:
    return reshaped_to(form, x)


UNSQUEEZE = register(
    Operator(
        name="unsqueeze",
        forward=unsqueeze,
        interval=unsqueeze_interval,
        backward=unsqueeze_backward,
        spellings=(torch.unsqueeze, "unsqueeze", aten.unsqueeze.default),
    )
)
