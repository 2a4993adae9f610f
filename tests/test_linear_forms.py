"""CROWN's algebra against its definitions, one pair (example, row) at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundgraph import linear_forms
from boundgraph.errors import GraphError
from boundgraph.values import Bounds, Interval, Line, LinearForm, Relaxation


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def form_over(shape: tuple[int, ...], batch: int = 2, rows: int = 3, seed: int = 0) -> LinearForm:
    return LinearForm(random(batch, rows, *shape, seed=seed), random(batch, rows, seed=seed + 1))


def value(form: LinearForm, x: Tensor) -> Tensor:
    """<A, x> + b for x (batch, *shape): (batch, rows)."""
    products = form.coefficients * x.unsqueeze(1)
    return products.reshape(*products.shape[:2], -1).sum(2) + form.bias


def interval(*shape: int, seed: int = 7) -> Interval:
    lower = random(*shape, seed=seed)
    return Interval(lower, lower + random(*shape, seed=seed + 1).abs())


shapes = st.sampled_from([(), (4,), (2, 3), (1, 2, 2)])


@pytest.mark.parametrize("shape", [(2,), (2, 4), (2, 3, 2)])
def test_identity(shape: tuple[int, ...]) -> None:
    x = interval(*shape)
    form = linear_forms.identity(x)
    assert form.coefficients.shape[0] == 1
    torch.testing.assert_close(value(form, x.lower), x.lower.reshape(2, -1))


@pytest.mark.parametrize("sides", ["both", "lower", "upper"])
def test_sides(sides: str) -> None:
    """Minima over a box of the rows, and of the negated rows with another sign, are the two sides."""
    form, x = form_over((4,)), interval(2, 4)
    rows = linear_forms.select_sides(form, sides)
    minima = (
        torch.minimum(rows.coefficients * x.lower.unsqueeze(1), rows.coefficients * x.upper.unsqueeze(1)).sum(2)
        + rows.bias
    )
    maxima = (
        torch.maximum(form.coefficients * x.lower.unsqueeze(1), form.coefficients * x.upper.unsqueeze(1)).sum(2)
        + form.bias
    )
    bounds = linear_forms.read_sides(minima, sides)
    assert isinstance(bounds, Bounds)
    assert (bounds.lower is None, bounds.upper is None) == (sides == "upper", sides == "lower")
    if bounds.upper is not None:
        torch.testing.assert_close(bounds.upper, maxima)
    if bounds.lower is not None:
        torch.testing.assert_close(bounds.lower, minima[:, :3])


def test_add() -> None:
    """Also where one form serves all examples."""
    x, first = random(2, 4), form_over((4,))
    for second in (form_over((4,), seed=5), form_over((4,), batch=1, seed=5)):
        torch.testing.assert_close(value(linear_forms.add(first, second), x), value(first, x) + value(second, x))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(shapes, st.sampled_from((1, 2)), st.sampled_from((1, 2)), st.integers(0, 99))
def test_lower_through_splits_by_sign(shape: tuple[int, ...], batch: int, lines: int, seed: int) -> None:
    """A >= 0 meets the lower line, A < 0 the upper one."""
    form = form_over(shape, batch, seed=seed)
    lower, upper = (
        Line(random(lines, *shape, seed=seed + i), random(lines, *shape, seed=seed + i + 1)) for i in (2, 4)
    )
    positive, negative = form.coefficients.clamp(min=0), form.coefficients.clamp(max=0)
    slopes = positive * lower.slope.unsqueeze(1) + negative * upper.slope.unsqueeze(1)
    shift = positive * lower.intercept.unsqueeze(1) + negative * upper.intercept.unsqueeze(1)
    found = linear_forms.lower_through(form, Relaxation(lower, upper))
    torch.testing.assert_close(found.coefficients, slopes)
    torch.testing.assert_close(found.bias, form.bias + shift.reshape(*shift.shape[:2], -1).sum(2))


def test_lower_through_by_hand() -> None:
    """2 y1 - 3 y2 with x <= y <= x + 1 is at least 2 x1 - 3 (x2 + 1)."""
    lines = Relaxation(Line(torch.ones(1, 2), torch.zeros(1, 2)), Line(torch.ones(1, 2), torch.ones(1, 2)))
    found = linear_forms.lower_through(LinearForm(torch.tensor([[[2.0, -3.0]]]), torch.zeros(1, 1)), lines)
    assert found.coefficients.tolist() == [[[2.0, -3.0]]]
    assert found.bias.item() == -3.0


def test_shifted() -> None:
    """Lines in x + c are lines in x."""
    relaxation = Relaxation(*(Line(random(2, 3, seed=i), random(2, 3, seed=i + 1)) for i in (1, 3)))
    x, constant = random(2, 3, seed=8), random(3, seed=9)
    assert linear_forms.shifted(relaxation, None) is relaxation
    for before, after in zip(relaxation, linear_forms.shifted(relaxation, constant), strict=True):
        torch.testing.assert_close(after.slope * x + after.intercept, before.slope * (x + constant) + before.intercept)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(shapes, st.sampled_from((1, 2)), st.sampled_from((1, 2)))
def test_inner(shape: tuple[int, ...], batch: int, examples: int) -> None:
    form, x = form_over(shape, batch), random(examples, *shape, seed=3)
    torch.testing.assert_close(linear_forms.inner(form.coefficients, x), value(form, x) - form.bias)


@pytest.mark.parametrize("constant", [(), (4,), (3, 1), (3, 4), (2, 3, 4), (2, 1, 4), (1, 3, 4)], ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_weighted_sum(constant: tuple[int, ...], batch: int) -> None:
    """<A, c> for a constant that broadcasts against the node, (2, 3, 4), with or without its batch."""
    form, tensor = form_over((3, 4), batch), random(*constant, seed=4)
    expected = value(form, tensor.expand(2, 3, 4)) - form.bias
    torch.testing.assert_close(linear_forms.weighted_sum(form, tensor).expand(2, -1), expected)
    torch.testing.assert_close(
        linear_forms.weighted_sum(form, 2).expand(2, -1), value(form, torch.full((2, 3, 4), 2)) - form.bias
    )


@pytest.mark.parametrize("shape", [(2, 1, 4), (2, 3, 1), (2, 1, 1), (2, 3, 4)], ids=str)
def test_sum_to_is_the_adjoint_of_broadcasting(shape: tuple[int, ...]) -> None:
    form, x = form_over((3, 4)), random(*shape, seed=5)
    found = LinearForm(linear_forms.sum_to(form.coefficients, torch.Size(shape)), form.bias)
    assert found.coefficients.shape == (2, 3, *shape[1:])
    torch.testing.assert_close(value(found, x), value(form, x.expand(2, 3, 4)))


def test_affine_combination() -> None:
    """x - 2 y + 3 c: forms in x and y, the constant and the incoming bias once."""
    x, y, constant, form = interval(2, 3, 1), interval(2, 1, 4), random(4, seed=6), form_over((3, 4))
    in_x, in_y = linear_forms.affine_combination(form, (x, 1), (y, -2.0), (constant, 3))
    total = value(form, x.lower - 2 * y.lower + 3 * constant)
    torch.testing.assert_close(value(in_x, x.lower) + value(in_y, y.lower), total)
    alone = linear_forms.affine_combination(form, (1.5, 2), (interval(2, 3, 4), -1))
    torch.testing.assert_close(value(alone, random(2, 3, 4)), value(form, 3 - random(2, 3, 4)))


def test_transposed_and_reshaped() -> None:
    def forward(x: Tensor, factor: float) -> Tensor:
        return factor * x.transpose(1, 2).cumsum(1)

    x, form = random(2, 3, 4, seed=2), form_over((4, 3))
    found = linear_forms.transposed(forward, form, Interval(x, x), 2.0)
    torch.testing.assert_close(value(found, x), value(form, forward(x, 2.0)))
    flat = linear_forms.reshaped_to(form_over((12,)), Interval(x, x))
    torch.testing.assert_close(value(flat, x), value(form_over((12,)), x.flatten(1)))


def test_rows_fold_into_the_batch_and_back() -> None:
    form = form_over((3, 4))
    folded = linear_forms.fold_rows(form.coefficients)
    assert folded.shape == (6, 3, 4)
    assert torch.equal(linear_forms.unfold_rows(folded, form), form.coefficients)


@pytest.mark.parametrize(("operand", "result"), [((2, 3), (4, 2, 3)), ((1, 3), (5, 3)), ((2, 3), (2, 2, 3))], ids=str)
def test_a_moved_batch_is_refused(operand: tuple[int, ...], result: tuple[int, ...]) -> None:
    grown = interval(*result)
    assert linear_forms.broadcast_checked(grown, 1.0, grown) is grown
    with pytest.raises(
        GraphError, match="which moves its batch dimension; unsqueeze it where the new dimension belongs"
    ):
        linear_forms.broadcast_checked(grown, interval(*operand))
