"""CROWN's algebra: what every operator shares when a linear lower bound is pulled from outputs to inputs.

A walk carries, for each row, coefficients A of a node and what has been collected so far:

    row >= <A, node - center> + offsets,    A of shape (batch | 1, rows, *node_shape), offsets (batch | 1, rows)

The node is measured from the centre of its interval. A linear operator maps centres to centres, so its constants cancel
and a step is nothing but its adjoint; only relaxations and regions add offsets. Only lower bounds are walked: the upper
bound of a row is minus the lower bound of the negated row, so `sides="both"` stacks each row with its negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from boundgraph.values import Bounds, Interval, Line, Relaxation, node_numel
from boundgraph.windows import Windows, adjacent, channels_last, cut, joined, places

Form = TypeVar("Form", Tensor, Windows)


def identity(interval: Interval) -> Tensor:
    """One row per element of the node, each row the element itself."""
    numel = node_numel(interval)
    rows = torch.eye(numel, dtype=interval.dtype, device=interval.device)
    return rows.reshape(1, numel, *interval.shape[1:])


def select_sides(coefficients: Tensor, sides: str) -> Tensor:
    """Rows whose lower bounds give the wanted sides: the rows, their negatives, or both stacked (lower ones first)."""
    if sides == "lower":
        return coefficients
    if sides == "upper":
        return -coefficients
    return torch.cat((coefficients, -coefficients), dim=1)


def read_sides(distances: Tensor, center: Tensor, sides: str) -> Bounds:
    """Undo `select_sides`: distances (batch, rows), how far the rows reach below the centres of their values, which are
    (batch, rows without the stacked ones)."""
    if sides == "lower":
        return Bounds(center + distances, None)
    if sides == "upper":
        return Bounds(None, center - distances)
    below, above = distances.chunk(2, dim=1)
    return Bounds(center + below, center - above)


def add(first: Form, second: Form) -> Form:
    """Where paths join: a node used twice is bounded by the sum of what its users ask of it. Offsets add up too."""
    if isinstance(first, Windows):
        return joined(first, second)
    return first + second


def centred(relaxation: Relaxation, y: Interval, x: Interval) -> Relaxation:
    """Lines in x around y = f(x), rewritten as lines in x - center around y - center."""

    def moved(line: Line) -> Line:
        at_center = line.slope * x.center - y.center
        return Line(line.slope, at_center if line.intercept is None else at_center + line.intercept)

    return Relaxation(*(moved(line) for line in relaxation))


def moved(
    coefficients: Tensor | Windows,
    center: Tensor,
    pulled: Sequence[Tensor | Windows],
    centers: Sequence[Tensor],
) -> Tensor:
    """The offset when <A, y> is replaced by sum_i <A_i, x_i>, and both are measured from centres."""
    offset = -inner(coefficients, center)
    for part, at in zip(pulled, centers, strict=True):
        offset = offset + inner(part, at)
    return offset


def moved_gradient(
    upstream: Tensor, coefficients: Tensor, center: Tensor, pulled: Sequence[Tensor], centers: Sequence[Tensor]
) -> tuple[Tensor, Tensor | None, list[Tensor], list[Tensor | None]]:
    """With g upstream: -g center for A and g center_i for A_i; sums over the rows of -g A and g A_i for the centres."""

    def of_form(form: Tensor, at: Tensor) -> Tensor:
        return summed_to(upstream.reshape(*upstream.shape, *[1] * (form.dim() - 2)) * at.unsqueeze(1), form)

    def of_center(form: Tensor, at: Tensor) -> Tensor | None:
        return summed_to(_over_rows(upstream, form), at) if _wanted(at) else None

    found = of_center(coefficients, center)
    pairs = list(zip(pulled, centers, strict=True))
    forms, middles = [of_form(*pair) for pair in pairs], [of_center(*pair) for pair in pairs]
    return -of_form(coefficients, center), None if found is None else -found, forms, middles


def total(offsets: Sequence[Tensor]) -> Tensor:
    return sum(offsets[1:], offsets[0])


def lower_through(coefficients: Form, relaxation: Relaxation) -> tuple[Form, Tensor]:
    """Replace y = f(x) by lines in x: the coefficients of x, and the offset.

    # sound: with A >= 0, A y >= A (lower line of x); with A < 0, A y >= A (upper line of x).
    Written as A * upper + max(A, 0) * (lower - upper), which needs one more copy of A instead of two.
    """
    if isinstance(coefficients, Windows):
        pulled, offset = lower_through(coefficients.values, _cut_lines(relaxation, coefficients))
        return coefficients._replace(values=pulled, inside=True), offset  # outside the image the lines are 0
    lower, upper = relaxation
    positive = coefficients.relu()
    pulled = coefficients * upper.slope.unsqueeze(1)
    pulled = pulled.addcmul_(positive, (lower.slope - upper.slope).unsqueeze(1))
    terms = [inner(positive, step)] if (step := _difference(lower.intercept, upper.intercept)) is not None else []
    if upper.intercept is not None:
        terms.append(inner(coefficients, upper.intercept))
    return pulled, sum(terms[1:], terms[0]) if terms else coefficients.new_zeros(pulled.shape[:2])


def _cut_lines(relaxation: Relaxation, windows: Windows) -> Relaxation:
    at = None if windows.field is None else places(windows)

    def part(line: Line) -> Line:
        return Line(cut(line.slope, windows, at), None if line.intercept is None else cut(line.intercept, windows, at))

    return Relaxation(*map(part, relaxation))


def lower_through_gradient(
    upstream: tuple[Tensor, Tensor], coefficients: Tensor, relaxation: Relaxation
) -> tuple[Tensor, Relaxation]:
    """The gradient of `lower_through`. With G and g upstream, A+ and A- the positive and negative part of A:

    A: where A > 0, G lower.slope + g lower.intercept, elsewhere the same with upper;
    slopes: sums over the rows of A+ G and A- G; intercepts: of A+ g and A- g.
    """
    pulled, offset = upstream
    lower, upper = relaxation
    per_row = offset.reshape(*offset.shape, *[1] * (coefficients.dim() - 2))
    gradient = pulled * (lower.slope - upper.slope).unsqueeze(1)
    if (step := _difference(lower.intercept, upper.intercept)) is not None:
        gradient = gradient.addcmul_(per_row, step.unsqueeze(1))
    gradient = torch.ops.aten.threshold_backward(gradient, coefficients.expand_as(gradient), 0)
    gradient = gradient.addcmul_(pulled, upper.slope.unsqueeze(1))
    if upper.intercept is not None:
        gradient = gradient.addcmul_(per_row, upper.intercept.unsqueeze(1))

    def of_line(line: Line, part: Tensor) -> Line:
        slope = _summed_over_rows(part * pulled) if _wanted(line.slope) else None
        intercept = _over_rows(offset, part) if _wanted(line.intercept) else None
        return Line(summed_to(slope, line.slope), summed_to(intercept, line.intercept))

    lines = of_line(lower, coefficients.relu()), of_line(upper, coefficients.clamp(max=0))
    return summed_to(gradient, coefficients), Relaxation(*lines)


def _wanted(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad


def _summed_over_rows(coefficients: Tensor) -> Tensor:
    if channels_last(coefficients):  # summed in the order of memory
        return coefficients.movedim(2, -1).sum(1).movedim(-1, 1)
    return coefficients.sum(1)


def _over_rows(weights: Tensor, coefficients: Tensor) -> Tensor:
    """The sum over the rows of weight * A: (batch, *node_shape)."""
    if channels_last(coefficients):
        return _over_rows(weights, coefficients.movedim(2, -1)).movedim(-1, 1)
    total = weights.unsqueeze(1) @ per_row(coefficients)
    return total.reshape(total.shape[0], *coefficients.shape[2:])


def summed_to(gradient: Any, like: Any) -> Any:
    """The gradient of what was broadcast along the batch."""
    if gradient is None or gradient.shape == like.shape:
        return gradient
    if gradient.dim() == 4 and adjacent(gradient, 1):  # summed in the order of memory
        return summed_to(gradient.movedim(1, -1), like.movedim(1, -1)).movedim(-1, 1)
    return gradient.sum_to_size(like.shape)


def _difference(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """first - second, where None is 0."""
    if second is None:
        return first
    return -second if first is None else first - second


def inner(coefficients: Tensor | Windows, value: Tensor) -> Tensor:
    """<coefficients[example, row], value[example]>: (batch | 1, rows, *shape), (batch | 1, *shape) -> (batch, rows)."""
    if isinstance(coefficients, Windows):
        return inner(coefficients.values, cut(value, coefficients))
    if channels_last(coefficients):  # flatten in the order of memory, or all coefficients would be copied
        coefficients, value = coefficients.movedim(2, -1), value.movedim(1, -1)
    rows, values = per_row(coefficients), per_example(value)
    if rows.shape[0] == 1:  # one set of coefficients for all examples: a plain matrix product
        return values @ rows[0].mT
    if values.shape[0] == 1:
        return rows @ values[0]
    # a row times a matrix: CPU libraries are ten times slower at a batch of matrices times columns
    return torch.matmul(values.unsqueeze(1), rows.mT).squeeze(1)


def per_row(coefficients: Tensor) -> Tensor:
    """(batch | 1, rows, *shape) -> (batch | 1, rows, numel), also for a node with one number per example."""
    return coefficients.flatten(2) if coefficients.dim() > 2 else coefficients.unsqueeze(2)


def per_example(value: Tensor) -> Tensor:
    """(batch, *shape) -> (batch, numel)."""
    return value.flatten(1) if value.dim() > 1 else value.unsqueeze(1)


def fold_rows(coefficients: Tensor) -> Tensor:
    """(batch | 1, rows, *shape) -> (batch * rows, *shape), so that ordinary batched operators act on coefficients."""
    return coefficients.flatten(0, 1)


def unfold_rows(folded: Tensor, coefficients: Tensor) -> Tensor:
    return folded.unflatten(0, coefficients.shape[:2])


def transposed(forward: Callable[..., Tensor], coefficients: Tensor, x: Interval, *arguments: Any) -> Tensor:
    """Pull through a linear map without bias that acts on each example alone: its adjoint, from autograd."""
    folded = fold_rows(coefficients)
    origin = folded.new_zeros(()).expand(folded.shape[0], *x.shape[1:])
    adjoint = torch.func.vjp(lambda value: forward(value, *arguments), origin)[1]
    return unfold_rows(adjoint(folded)[0], coefficients)


def reshaped_to(coefficients: Tensor, x: Interval) -> Tensor:
    """Pull through an operator that only regroups the elements of each example."""
    reshaped = coefficients.reshape(*coefficients.shape[:2], *x.shape[1:])
    return unfold_rows(laid_out_like(fold_rows(reshaped), x.center), coefficients)


def laid_out_like(images: Tensor, others: Tensor) -> Tensor:
    """The images with channels last in memory if the others have them so; else, and for anything else, as they are."""
    return with_channels_last(images) if images.dim() == others.dim() == 4 and adjacent(others, 1) else images


def with_channels_last(images: Tensor) -> Tensor:
    """The images with channels last in memory. A single channel may have any stride; convolutions go by one that says
    it is last."""
    if images.shape[1] == 1:
        return images.squeeze(1).unsqueeze(3).movedim(3, 1)
    return images.contiguous(memory_format=torch.channels_last)
