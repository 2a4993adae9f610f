"""The rows to be bounded, C y, over the flattened output: a linear operator at the end of the graph, and its merger
with a last linear layer, C (W x + b) = (C W) x + C b, which is tighter under intervals than the two in turn."""

from __future__ import annotations

import torch
from torch import Tensor

from boundgraph.errors import RegionError
from boundgraph.linear_forms import inner, per_example, weighted_sum
from boundgraph.operator import Operator, register
from boundgraph.values import Interval, LinearForm, from_center, node_numel


def forward(x: Tensor, spec: Tensor) -> Tensor:
    """x (batch, *shape), spec (batch | 1, rows, numel) -> (batch, rows)."""
    return inner(_fitting(spec, per_example(x).shape[1]), x)


def interval(x: Interval, spec: Tensor) -> Interval:
    return from_center(forward(x.center, spec), inner(spec.abs(), x.radius))


def start(x: Interval, spec: Tensor) -> LinearForm:
    rows = _fitting(spec, node_numel(x)).reshape(*spec.shape[:2], *x.shape[1:])
    return LinearForm(rows, spec.new_zeros(spec.shape[:2]))


def backward(form: LinearForm, x: Interval, spec: Tensor) -> LinearForm:
    rows = form.coefficients @ spec
    return LinearForm(rows.reshape(*rows.shape[:2], *x.shape[1:]), form.bias)


SPECIFICATION = register(
    Operator(name="specification", forward=forward, interval=interval, backward=backward, start=start)
)


def _fitting(spec: Tensor, outputs: int) -> Tensor:
    if spec.shape[-1] != outputs:
        raise RegionError(f"spec has {spec.shape[-1]} columns, but the model has {outputs} outputs per example")
    return spec


def merged_weight(spec: Tensor, weight: Tensor) -> Tensor:
    """C W, (batch | 1, rows, positions * inputs), for a layer that acts on each of `positions` vectors per example."""
    return torch.matmul(_per_position(spec, weight.shape[0]), weight).flatten(2)


def merged_bias(spec: Tensor, bias: Tensor) -> Tensor:
    """C b: (batch | 1, rows)."""
    return torch.matmul(_per_position(spec, bias.shape[0]), bias).sum(2)


def _per_position(spec: Tensor, outputs: int) -> Tensor:
    """(batch | 1, rows, positions * outputs) -> (batch | 1, rows, positions, outputs)."""
    if spec.shape[-1] % outputs:
        raise RegionError(f"spec has {spec.shape[-1]} columns, but the model has {outputs} outputs per example")
    return spec.unflatten(2, (-1, outputs))


def merged(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (batch, *positions, inputs), weight (batch | 1, rows, numel), bias (batch | 1, rows) -> (batch, rows)."""
    if weight.shape[2] != (found := per_example(x).shape[1]):
        ratio = weight.shape[2] / found
        raise RegionError(f"spec has {ratio:g} times as many columns as the model has outputs per example")
    product = inner(weight, x)
    return product if bias is None else product + bias


def merged_interval(x: Interval, weight: Tensor, bias: Tensor | None = None) -> Interval:
    return from_center(merged(x.center, weight, bias), inner(weight.abs(), x.radius))


def merged_start(x: Interval, weight: Tensor, bias: Tensor | None = None) -> LinearForm:
    rows = weight.reshape(*weight.shape[:2], *x.shape[1:])
    return LinearForm(rows, weight.new_zeros(weight.shape[:2]) if bias is None else bias)


def merged_backward(form: LinearForm, x: Interval, weight: Tensor, bias: Tensor | None = None) -> LinearForm:
    constant = form.bias if bias is None else form.bias + weighted_sum(form, bias)
    rows = form.coefficients @ weight
    return LinearForm(rows.reshape(*rows.shape[:2], *x.shape[1:]), constant)


MERGED_SPECIFICATION = register(
    Operator(
        name="merged_specification",
        forward=merged,
        interval=merged_interval,
        backward=merged_backward,
        start=merged_start,
    )
)
