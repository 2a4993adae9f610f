"""The rows to be bounded, C y, over the flattened output: a linear operator at the end of the graph, and its merger
with a last linear layer, C (W x + b) = (C W) x + C b, which is tighter under intervals than the two in turn."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.errors import RegionError
from boundgraph.linear_forms import inner, per_example, summed_to
from boundgraph.operator import Operator, register
from boundgraph.products import matrix_product
from boundgraph.specification import compared_pairs
from boundgraph.values import Interval, node_numel


def forward(x: Tensor, spec: Tensor) -> Tensor:
    """x (batch, *shape), spec (batch | 1, rows, numel) -> (batch, rows)."""
    return inner(_fitting(spec, per_example(x).shape[1]), x)


def interval(x: Interval, spec: Tensor) -> Interval:
    return Interval.around(forward(x.center, spec), inner(spec.abs(), x.radius))


def start(x: Interval, spec: Tensor) -> Tensor:
    return _fitting(spec, node_numel(x)).reshape(*spec.shape[:2], *x.shape[1:])


def backward(coefficients: Tensor, x: Interval, spec: Tensor) -> Tensor:
    rows = coefficients @ spec
    return rows.reshape(*rows.shape[:2], *x.shape[1:])


SPECIFICATION = register(
    Operator(name="specification", forward=forward, interval=interval, backward=backward, start=start)
)


def _fitting(spec: Tensor, outputs: int) -> Tensor:
    if spec.shape[-1] != outputs:
        raise RegionError(f"spec has {spec.shape[-1]} columns, but the model has {outputs} outputs per example")
    return spec


def merged(x: Tensor, spec: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """C (W x + b): x (batch, *positions, inputs), spec (batch | 1, rows, positions * outputs) -> (batch, rows)."""
    return forward(F.linear(x, weight, bias), spec)


def merged_interval(x: Interval, spec: Tensor, weight: Tensor, bias: Tensor | None = None) -> Interval:
    center = merged(x.center, spec, weight, bias)
    pairs = compared_pairs(spec)
    if pairs is not None and len(x.shape) == 2 and weight.shape[0] * (weight.shape[0] - 1) // 2 <= center.numel():
        return Interval.around(center, _radius_of_pairs(x.radius, weight, *pairs))
    return Interval.around(center, inner(_merged_weight(spec, weight).abs(), x.radius))


def _radius_of_pairs(radius: Tensor, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """<|W_i - W_j|, radius> for the compared outputs: each pair once, instead of once per example that compares it."""
    outputs = weight.shape[0]
    one, other = torch.triu_indices(outputs, outputs, 1, device=weight.device)
    unit = torch.eye(outputs, dtype=weight.dtype, device=weight.device)
    apart = radius @ ((unit[one] - unit[other]) @ weight).abs().mT
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    asked = low * (2 * outputs - low - 1) // 2 + high - low - 1  # the place of a pair in that order
    batch = max(apart.shape[0], asked.shape[0])
    return apart.expand(batch, -1).gather(1, asked.expand(batch, -1))


def merged_start(x: Interval, spec: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rows = _merged_weight(spec, weight)
    return rows.reshape(*rows.shape[:2], *x.shape[1:])


def merged_backward(
    coefficients: Tensor, x: Interval, spec: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    rows = torch.matmul((coefficients @ spec).unflatten(2, (-1, weight.shape[0])), weight)
    return rows.reshape(*rows.shape[:2], *x.shape[1:])


def merged_gradient(
    upstream: Tensor, coefficients: Tensor, x: Interval, spec: Tensor, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    """Of A C W, G upstream: G W^T C^T for A, A^T G W^T for C, (A C)^T G for W."""
    arrived = upstream.reshape(*upstream.shape[:2], -1, weight.shape[1])
    through_weight = torch.matmul(arrived, weight.mT).flatten(2)
    of_spec = of_weight = None
    if spec.requires_grad:
        of_spec = summed_to(coefficients.mT @ through_weight, spec)
    if weight.requires_grad:
        outputs = (coefficients @ spec).reshape(-1, weight.shape[0])
        of_weight = matrix_product(outputs.mT, arrived.flatten(0, 2))
    return summed_to(through_weight @ spec.mT, coefficients), None, of_spec, of_weight, None


def _merged_weight(spec: Tensor, weight: Tensor) -> Tensor:
    """C W, (batch | 1, rows, positions * inputs), for a layer that acts on each of `positions` vectors per example."""
    if spec.shape[-1] % weight.shape[0]:
        raise RegionError(f"spec has {spec.shape[-1]} columns, but the model has {weight.shape[0]} outputs per example")
    return torch.matmul(spec.unflatten(2, (-1, weight.shape[0])), weight).flatten(2)


MERGED_SPECIFICATION = register(
    Operator(
        name="merged_specification",
        forward=merged,
        interval=merged_interval,
        backward=merged_backward,
        gradient=merged_gradient,
        start=merged_start,
    )
)
