"""Pulling through arithmetic: sums and products, whose operands may be broadcast against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boundgraph.errors import GraphError
from boundgraph.values import Interval
from boundgraph.windows import Windows, cut, whole

Combined = Tensor | Windows | tuple[Tensor | Windows, ...]


def combined(coefficients: Tensor | Windows, *terms: tuple[Any, float]) -> Combined:
    """Pull through sum_i factor_i * operand_i, for the operands that carry bounds."""
    coefficients = _over_operands(coefficients, *(operand for operand, _ in terms))
    bounded = [(operand, factor) for operand, factor in terms if isinstance(operand, Interval)]
    parts = [(_summed_to_operand(coefficients, operand), factor) for operand, factor in bounded]
    pulled = tuple(part if factor == 1 else _times(part, factor) for part, factor in parts)
    return pulled[0] if len(pulled) == 1 else pulled


def scaled(
    coefficients: Tensor | Windows, x: Interval, constant: Any, product: Callable[..., Tensor] = torch.mul
) -> Tensor | Windows:
    """Pull through x * constant, or, with the product `torch.div`, through x / constant."""
    coefficients = _over_operands(coefficients, x, constant)
    if isinstance(coefficients, Tensor):
        factor = aligned(constant, coefficients) if isinstance(constant, Tensor) else constant
        return sum_to(product(coefficients, factor), x.shape)
    if isinstance(constant, Tensor):
        image = torch.broadcast_shapes(x.shape, constant.shape)[1:]
        each = len(constant) if constant.dim() > len(image) else 1
        constant = cut(constant.expand(each, *image), coefficients, outside=1).unsqueeze(1)
    return _summed_to_operand(coefficients.of(product(coefficients.values, constant)), x)


def _times(coefficients: Tensor | Windows, factor: float) -> Tensor | Windows:
    if isinstance(coefficients, Windows):
        return coefficients.of(factor * coefficients.values)
    return factor * coefficients


def _over_operands(coefficients: Tensor | Windows, *operands: Any) -> Tensor | Windows:
    """The coefficients of what operands are broadcast to; a window of that is no window of what is broadcast."""
    if isinstance(coefficients, Tensor):
        return coefficients
    shapes = [operand.shape for operand in operands if isinstance(operand, Interval | Tensor)]
    image = torch.broadcast_shapes(*shapes)[2:]
    same = all(operand.shape[2:] == image for operand in operands if isinstance(operand, Interval))
    return coefficients if same else whole(coefficients)


def _summed_to_operand(coefficients: Tensor | Windows, operand: Interval) -> Tensor | Windows:
    if isinstance(coefficients, Tensor):
        return sum_to(coefficients, operand.shape)
    shape = operand.shape if coefficients.field is None else torch.Size((*operand.shape[:2], *coefficients.sizes))
    return coefficients._replace(values=sum_to(coefficients.values, shape), image=operand.shape[2:])


def broadcast_checked(result: Interval, *operands: Any) -> Interval:
    """`result`, if no operand with bounds was broadcast to more dimensions, which would move its batch dimension."""
    require_same_dims(result.shape, *operands)
    radius = result.radius
    return Interval.around(result.center, radius.expand(radius.shape[0], *result.shape[1:]))


def require_same_dims(shape: torch.Size, *operands: Any) -> None:
    """Reject operands with bounds that were broadcast to another batch, or to more dimensions, as which they would have
    their batch elsewhere."""
    for operand in operands:
        if isinstance(operand, Interval) and (len(operand.shape) != len(shape) or operand.shape[0] != shape[0]):
            raise GraphError(
                f"a bounded value of shape {tuple(operand.shape)} is broadcast to {tuple(shape)}, which moves "
                "its batch dimension; unsqueeze it where the new dimension belongs"
            )


def aligned(constant: Tensor, coefficients: Tensor) -> Tensor:
    """View a constant that broadcasts against the node as one that broadcasts against the node's coefficients."""
    has_batch = constant.dim() == coefficients.dim() - 1
    return constant.unsqueeze(1) if has_batch else constant


def sum_to(coefficients: Tensor, node_shape: torch.Size) -> Tensor:
    """The adjoint of broadcasting: sum coefficients over the dimensions along which the node, (batch, *shape), grew."""
    grown = [i + 1 for i in range(1, len(node_shape)) if node_shape[i] == 1 and coefficients.shape[i + 1] != 1]
    return coefficients.sum(grown, keepdim=True) if grown else coefficients
