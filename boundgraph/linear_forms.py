"""CROWN's algebra: what every operator shares when a linear lower bound is pulled from outputs to inputs.

A walk carries, for each row, a lower bound <A, node> + bias. Only lower bounds are walked: the upper bound of a row is
minus the lower bound of the negated row, so `sides="both"` stacks each row with its negative and walks once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boundgraph.errors import GraphError
from boundgraph.values import Bounds, Interval, Line, LinearForm, Relaxation, node_numel


def identity(interval: Interval) -> LinearForm:
    """One row per element of the node, each row the element itself."""
    like, numel = interval.lower, node_numel(interval)
    rows = torch.eye(numel, dtype=like.dtype, device=like.device)
    return LinearForm(rows.reshape(1, numel, *like.shape[1:]), rows.new_zeros(1, numel))


def select_sides(form: LinearForm, sides: str) -> LinearForm:
    """Rows whose lower bounds give the wanted sides: the rows, their negatives, or both stacked (lower ones first)."""
    if sides == "lower":
        return form
    if sides == "upper":
        return LinearForm(-form.coefficients, -form.bias)
    return LinearForm(
        torch.cat((form.coefficients, -form.coefficients), dim=1), torch.cat((form.bias, -form.bias), dim=1)
    )


def read_sides(lower_bounds: Tensor, sides: str) -> Bounds:
    """Undo `select_sides` on the concretised rows, (batch, rows)."""
    if sides == "lower":
        return Bounds(lower_bounds, None)
    if sides == "upper":
        return Bounds(None, -lower_bounds)
    lower, negated_upper = lower_bounds.chunk(2, dim=1)
    return Bounds(lower, -negated_upper)


def add(first: LinearForm, second: LinearForm) -> LinearForm:
    """Where paths join: a node used twice is bounded by the sum of what its users ask of it."""
    return LinearForm(first.coefficients + second.coefficients, first.bias + second.bias)


def lower_through(form: LinearForm, relaxation: Relaxation) -> LinearForm:
    """Replace y = f(x) by lines in x.

    # sound: with A >= 0, A y >= A (lower line of x); with A < 0, A y >= A (upper line of x).
    Written as A * middle + |A| * half with middle = (lower + upper) / 2 and half = (lower - upper) / 2, which needs no
    tensor of signs and one product less than splitting A into its positive and negative part.
    """
    coefficients = form.coefficients
    magnitude = coefficients.abs()
    slope, half_slope = _middle_and_half(relaxation.lower.slope, relaxation.upper.slope)
    intercept, half_intercept = _middle_and_half(relaxation.lower.intercept, relaxation.upper.intercept)
    bias = form.bias + inner(coefficients, intercept) + inner(magnitude, half_intercept)
    pulled = torch.addcmul(coefficients * slope.unsqueeze(1), magnitude, half_slope.unsqueeze(1))
    return LinearForm(pulled, bias)


def _middle_and_half(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    return (lower + upper) / 2, (lower - upper) / 2


def shifted(relaxation: Relaxation, constant: Tensor | None) -> Relaxation:
    """Lines in z = x + constant, written as lines in x: s z + t = s x + (s constant + t)."""
    if constant is None:
        return relaxation
    lower, upper = relaxation.lower, relaxation.upper
    return Relaxation(
        Line(lower.slope, lower.intercept + lower.slope * constant),
        Line(upper.slope, upper.intercept + upper.slope * constant),
    )


def inner(coefficients: Tensor, value: Tensor) -> Tensor:
    """<coefficients[example, row], value[example]>: (batch | 1, rows, *shape), (batch | 1, *shape) -> (batch, rows)."""
    rows, values = per_row(coefficients), per_example(value)
    if rows.shape[0] == 1:  # one set of coefficients for all examples: a plain matrix product
        return values @ rows[0].mT
    return torch.matmul(rows, values.unsqueeze(-1)).squeeze(-1)


def per_row(coefficients: Tensor) -> Tensor:
    """(batch | 1, rows, *shape) -> (batch | 1, rows, numel), also for a node with one number per example."""
    return coefficients.flatten(2) if coefficients.dim() > 2 else coefficients.unsqueeze(2)


def per_example(value: Tensor) -> Tensor:
    """(batch, *shape) -> (batch, numel)."""
    return value.flatten(1) if value.dim() > 1 else value.unsqueeze(1)


def aligned(constant: Tensor, form: LinearForm) -> Tensor:
    """View a constant that broadcasts against the node as one that broadcasts against the node's coefficients."""
    has_batch = constant.dim() == form.coefficients.dim() - 1
    return constant.unsqueeze(1) if has_batch else constant


def weighted_sum(form: LinearForm, constant: Any) -> Tensor:
    """<coefficients, constant> for a number or a tensor that broadcasts against the node."""
    if not isinstance(constant, Tensor):
        return per_row(form.coefficients).sum(2) * constant
    return per_row(form.coefficients * aligned(constant, form)).sum(2)


def sum_to(coefficients: Tensor, node_shape: torch.Size) -> Tensor:
    """The adjoint of broadcasting: sum coefficients over the dimensions along which the node, (batch, *shape), grew."""
    grown = [i + 1 for i in range(1, len(node_shape)) if node_shape[i] == 1 and coefficients.shape[i + 1] != 1]
    return coefficients.sum(grown, keepdim=True) if grown else coefficients


def fold_rows(coefficients: Tensor) -> Tensor:
    """(batch | 1, rows, *shape) -> (batch * rows, *shape), so that ordinary batched operators act on coefficients."""
    return coefficients.flatten(0, 1)


def unfold_rows(folded: Tensor, form: LinearForm) -> Tensor:
    return folded.unflatten(0, form.coefficients.shape[:2])


def transposed(forward: Callable[..., Tensor], form: LinearForm, x: Interval, *arguments: Any) -> LinearForm:
    """Pull a form through a linear map without bias that acts on each example alone: its adjoint, from autograd."""
    folded = fold_rows(form.coefficients)
    origin = folded.new_zeros(()).expand(folded.shape[0], *x.shape[1:])
    adjoint = torch.func.vjp(lambda value: forward(value, *arguments), origin)[1]
    return LinearForm(unfold_rows(adjoint(folded)[0], form), form.bias)


def reshaped_to(form: LinearForm, x: Interval) -> LinearForm:
    """Pull a form through an operator that only regroups the elements of each example."""
    coefficients = form.coefficients
    return LinearForm(coefficients.reshape(*coefficients.shape[:2], *x.shape[1:]), form.bias)


def affine_combination(form: LinearForm, *terms: tuple[Any, float]) -> LinearForm | tuple[LinearForm, ...]:
    """Pull a form through sum_i factor_i * operand_i; exact operands become part of the bias."""
    bias, bounded = form.bias, []
    for operand, factor in terms:
        if isinstance(operand, Interval):
            coefficients = sum_to(form.coefficients, operand.shape)
            bounded.append(coefficients if factor == 1 else factor * coefficients)
        else:
            bias = bias + factor * weighted_sum(form, operand)
    forms = [LinearForm(part, bias if i == 0 else torch.zeros_like(bias)) for i, part in enumerate(bounded)]
    return forms[0] if len(forms) == 1 else tuple(forms)


def scaled(form: LinearForm, x: Interval, constant: Any) -> LinearForm:
    """Pull a form through x * constant."""
    factor = aligned(constant, form) if isinstance(constant, Tensor) else constant
    return LinearForm(sum_to(form.coefficients * factor, x.shape), form.bias)


def broadcast_checked(result: Interval, *operands: Any) -> Interval:
    """`result`, if no operand with bounds was broadcast to more dimensions, which would move its batch dimension."""
    for operand in operands:
        if isinstance(operand, Interval) and (
            operand.lower.dim() != result.lower.dim() or operand.shape[0] != result.shape[0]
        ):
            raise GraphError(
                f"a bounded value of shape {tuple(operand.shape)} is broadcast to {tuple(result.shape)}, which moves "
                "its batch dimension; unsqueeze it where the new dimension belongs"
            )
    return result
