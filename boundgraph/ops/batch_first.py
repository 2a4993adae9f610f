"""What stands where a model moves its batch for a while and the graph does not: checks, and views of exact operands.

`turned` values have dimensions 0 and 1 swapped, `merged` ones all dimensions before the last made one. Graphs keep the
value before that, with its batch in dimension 0, as long as what is done to it can be done there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boundgraph.batch import require_same_examples
from boundgraph.errors import GraphError
from boundgraph.linear_forms import reshaped_to
from boundgraph.operator import Operator, register
from boundgraph.values import Interval


def sequence(x: Tensor) -> Tensor:
    """x, which has features: turned, (length, batch, features), its last dimension is what it was."""
    _require_features(x.shape)
    return x


def sequence_interval(x: Interval) -> Interval:
    _require_features(x.shape)
    return x


def sequence_backward(coefficients: Tensor, x: Interval) -> Tensor:
    return coefficients


def _require_features(shape: torch.Size) -> None:
    if len(shape) < 3:
        raise GraphError(
            f"transposing a value of shape {tuple(shape)} moves dimension 0, which must stay the batch: bounds are "
            "computed per example, and it has no third dimension to treat alike before and after"
        )


SEQUENCE = register(Operator(name="sequence", forward=sequence, interval=sequence_interval, backward=sequence_backward))


def rows(x: Tensor, size: int) -> Tensor:
    """x, if its last dimension has this size, so that x.reshape(-1, size) has the same rows; else that."""
    return x if x.shape[-1] == size else x.reshape(-1, size)


def rows_interval(x: Interval, size: int) -> Interval:
    return x.through(lambda value: require_same_examples(value, rows(value, size), f"reshape(-1, {size})"))


def rows_backward(coefficients: Tensor, x: Interval, size: int) -> Tensor:
    return reshaped_to(coefficients, x)


ROWS = register(Operator(name="rows", forward=rows, interval=rows_interval, backward=rows_backward))


def beside_turned(constant: Tensor, shape: torch.Size) -> Tensor:
    """What is broadcast against a turned value, as it is broadcast against the value of this shape before that."""
    if not isinstance(constant, Tensor) or constant.dim() < len(shape) - 1:
        return constant
    if constant.dim() == len(shape):
        return constant.transpose(0, 1)
    if constant.dim() == len(shape) - 1:
        return constant.unsqueeze(1)
    raise GraphError(f"a constant of shape {tuple(constant.shape)} moves the batch of a value of shape {tuple(shape)}")


def beside_merged(constant: Tensor, shape: torch.Size) -> Tensor:
    """The same of a merged value."""
    if isinstance(constant, Tensor) and constant.dim() > 1:
        raise GraphError(
            f"a constant of shape {tuple(constant.shape)} has one row per row of a value of shape {tuple(shape)} whose "
            "batch was merged with other dimensions; apply it before x.reshape(-1, features)"
        )
    return constant


def turned_shape(shape: torch.Size) -> torch.Size:
    return torch.Size((shape[1], shape[0], *shape[2:]))


def merged_shape(shape: torch.Size) -> torch.Size:
    return torch.Size((math.prod(shape[:-1]), shape[-1]))
