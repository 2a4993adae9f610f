"""CROWN's algebra against its definitions, one pair (example, row) at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._pytree import tree_leaves

from boundgraph import broadcasting, linear_forms
from boundgraph.errors import GraphError
from boundgraph.gradients import gradient_of, undeclared_gradient
from boundgraph.values import Bounds, Interval, Line, Relaxation


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows_over(shape: tuple[int, ...], batch: int = 2, rows: int = 3, seed: int = 0) -> Tensor:
    return random(batch, rows, *shape, seed=seed)


def value(rows: Tensor, x: Tensor) -> Tensor:
    """<A, x> for x (batch, *shape): (batch, rows)."""
    products = rows * x.unsqueeze(1)
    return products.reshape(*products.shape[:2], -1).sum(2)


def interval(*shape: int, seed: int = 7) -> Interval:
    lower = random(*shape, seed=seed)
    return Interval(lower, lower + random(*shape, seed=seed + 1).abs())


def lines_over(batch: int, shape: tuple[int, ...], seed: int = 0, without: str = "") -> Relaxation:
    """Two lines; `without` names the ones that pass through the origin, which need no intercept."""
    parts = [random(batch, *shape, seed=seed + i) for i in range(4)]
    lower = Line(parts[0], None if "lower" in without else parts[1])
    upper = Line(parts[2], None if "upper" in without else parts[3])
    return Relaxation(lower, upper)


def intercept_of(line: Line) -> Tensor:
    return torch.zeros_like(line.slope) if line.intercept is None else line.intercept


shapes = st.sampled_from([(), (4,), (2, 3), (1, 2, 2)])
WITHOUT = ("", "lower", "upper", "lower, upper")


@pytest.mark.parametrize("shape", [(2,), (2, 4), (2, 3, 2)])
def test_identity(shape: tuple[int, ...]) -> None:
    x = interval(*shape)
    rows = linear_forms.identity(x)
    assert rows.shape[0] == 1
    torch.testing.assert_close(value(rows, x.lower), x.lower.reshape(2, -1))


@pytest.mark.parametrize("sides", ["both", "lower", "upper"])
def test_sides(sides: str) -> None:
    """How far the rows, and the negated rows, fall below the centre over a box gives the two sides."""
    chosen, x = rows_over((4,)), interval(2, 4)
    rows = linear_forms.select_sides(chosen, sides)
    lower, upper = (
        end(chosen * x.lower.unsqueeze(1), chosen * x.upper.unsqueeze(1)).sum(2)
        for end in (torch.minimum, torch.maximum)
    )
    distances = -(rows.abs() * x.radius.unsqueeze(1)).sum(2)
    bounds = linear_forms.read_sides(distances, value(chosen, x.center), sides)
    assert isinstance(bounds, Bounds)
    assert (bounds.lower is None, bounds.upper is None) == (sides == "upper", sides == "lower")
    if bounds.upper is not None:
        torch.testing.assert_close(bounds.upper, upper)
    if bounds.lower is not None:
        torch.testing.assert_close(bounds.lower, lower)


def test_add() -> None:
    """Also where one set of coefficients serves all examples."""
    x, first = random(2, 4), rows_over((4,))
    for second in (rows_over((4,), seed=5), rows_over((4,), batch=1, seed=5)):
        torch.testing.assert_close(value(linear_forms.add(first, second), x), value(first, x) + value(second, x))


def test_total() -> None:
    """Offsets of several sources, of one example for all or of each its own."""
    several, shared = random(2, 3), random(1, 3, seed=1)
    torch.testing.assert_close(linear_forms.total([several, shared, several]), 2 * several + shared)
    assert linear_forms.total([shared]) is shared


# ---------------------------------------------------------------------- measuring from centres


@pytest.mark.parametrize("without", WITHOUT)
def test_centred(without: str) -> None:
    """slope * x + intercept - y.center as a line in x - x.center."""
    x, y, lines = interval(2, 3), interval(2, 3, seed=3), lines_over(2, (3,), without=without)
    for line, about in zip(lines, linear_forms.centred(lines, y, x), strict=True):
        for point in (x.lower, x.upper):
            expected = line.slope * point + intercept_of(line) - y.center
            torch.testing.assert_close(about.slope * (point - x.center) + about.intercept, expected)


def test_moved() -> None:
    """<A, y - y0> = <A1, x1 - x01> + <A2, x2 - x02> + offset where <A, y> = <A1, x1> + <A2, x2>: here y = 2 x1 - x2."""
    first, second, rows = random(2, 3), random(2, 3, seed=1), rows_over((3,), batch=1)
    center, *centers = (random(2, 3, seed=i) for i in (2, 3, 4))
    offset = linear_forms.moved(rows, center, [2 * rows, -rows], centers)
    about = value(2 * rows, first - centers[0]) + value(-rows, second - centers[1])
    torch.testing.assert_close(about + offset, value(rows, 2 * first - second - center))


def test_gradient_of_moved() -> None:
    """All its coefficients belong to the walk, so each of them has a gradient, whether or not it asks for one."""
    rows, pulled = rows_over((3,), batch=1), [rows_over((4,), seed=1), rows_over((3,), batch=1, seed=2)]
    center, *centers = random(2, 3, seed=3), random(2, 4, seed=4).requires_grad_(), random(1, 3, seed=5)
    upstream = random(2, 3, seed=6)
    found = gradient_of(linear_forms.moved)(upstream, rows, center, pulled, centers)
    leaves = [part.detach().requires_grad_() for part in (rows, *pulled, centers[0])]
    offset = linear_forms.moved(leaves[0], center, leaves[1:3], [leaves[3], centers[1]])
    expected = torch.autograd.grad(offset, leaves, upstream)
    assert found[1] is None
    assert found[3][1] is None
    for one, other in zip((found[0], *found[2], found[3][0]), expected, strict=True):
        torch.testing.assert_close(one, other)


# ---------------------------------------------------------------------- lines


@settings(deadline=None, max_examples=60, derandomize=True)
@given(shapes, st.sampled_from((1, 2)), st.sampled_from((1, 2)), st.sampled_from(WITHOUT), st.integers(0, 99))
def test_lower_through_splits_by_sign(shape: tuple[int, ...], batch: int, lines: int, without: str, seed: int) -> None:
    """A >= 0 meets the lower line, A < 0 the upper one."""
    rows, relaxation = rows_over(shape, batch, seed=seed), lines_over(lines, shape, seed + 2, without)
    lower, upper = relaxation
    positive, negative = rows.clamp(min=0), rows.clamp(max=0)
    slopes = positive * lower.slope.unsqueeze(1) + negative * upper.slope.unsqueeze(1)
    expected = value(positive, intercept_of(lower)) + value(negative, intercept_of(upper))
    pulled, offset = linear_forms.lower_through(rows, relaxation)
    torch.testing.assert_close(pulled, slopes)
    torch.testing.assert_close(offset.expand_as(expected), expected)


def test_lower_through_by_hand() -> None:
    """2 y1 - 3 y2 with x <= y <= x + 1 is at least 2 x1 - 3 (x2 + 1)."""
    lines = Relaxation(Line(torch.ones(1, 2)), Line(torch.ones(1, 2), torch.ones(1, 2)))
    pulled, offset = linear_forms.lower_through(torch.tensor([[[2.0, -3.0]]]), lines)
    assert pulled.tolist() == [[[2.0, -3.0]]]
    assert offset.item() == -3.0


@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("learned", ["all", "slopes", "none"])
@pytest.mark.parametrize("layout", ["plain", "channels last"])
@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.sampled_from([(), (4,), (2, 3), (3, 2, 2)]), st.sampled_from((1, 2)), st.sampled_from((1, 2)))
def test_declared_gradient_through_lines(
    without: str, learned: str, layout: str, shape: tuple[int, ...], batch: int, lines: int
) -> None:
    """What a graph of gradients uses is what autograd finds, for each part that wants a gradient."""

    def laid_out(tensor: Tensor) -> Tensor:
        return tensor.movedim(2, -1).contiguous().movedim(-1, 2) if layout != "plain" and len(shape) > 1 else tensor

    rows, relaxation = laid_out(rows_over(shape, batch)), lines_over(lines, shape, 2, without)
    for line in relaxation:
        line.slope.requires_grad_(learned != "none")
        if line.intercept is not None:
            line.intercept.requires_grad_(learned == "all")
    examples = max(batch, lines)
    shared = "lower" in without and "upper" in without
    upstream = laid_out(random(examples, 3, *shape, seed=8)), random(examples, 3, seed=9)
    _, offset = linear_forms.lower_through(rows, relaxation)
    assert shared or offset.shape == (examples, 3)
    expected = undeclared_gradient(linear_forms.lower_through)(upstream, rows, relaxation)
    found = linear_forms.lower_through_gradient(upstream, rows, relaxation)
    torch.testing.assert_close(found[0], expected[0])
    for one, other in zip(tree_leaves(found[1]), tree_leaves(expected[1]), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


# ---------------------------------------------------------------------- what rooms are made of


@settings(deadline=None, max_examples=30, derandomize=True)
@given(shapes, st.sampled_from((1, 2)), st.sampled_from((1, 2)))
def test_inner(shape: tuple[int, ...], batch: int, examples: int) -> None:
    rows, x = rows_over(shape, batch), random(examples, *shape, seed=3)
    torch.testing.assert_close(linear_forms.inner(rows, x), value(rows, x))


@pytest.mark.parametrize("batch", [1, 2])
def test_inner_keeps_the_order_of_memory(batch: int) -> None:
    """Coefficients of a convolution may have their channels last."""
    rows, x = rows_over((3, 2, 2), batch), random(2, 3, 2, 2, seed=3)
    turned = rows.movedim(2, -1).contiguous().movedim(-1, 2)
    assert turned.stride(2) == 1
    torch.testing.assert_close(linear_forms.inner(turned, x), value(rows, x))


@pytest.mark.parametrize("shape", [(2, 1, 4), (2, 3, 1), (2, 1, 1), (2, 3, 4)], ids=str)
def test_sum_to_is_the_adjoint_of_broadcasting(shape: tuple[int, ...]) -> None:
    rows, x = rows_over((3, 4)), random(*shape, seed=5)
    found = broadcasting.sum_to(rows, torch.Size(shape))
    assert found.shape == (2, 3, *shape[1:])
    torch.testing.assert_close(value(found, x), value(rows, x.expand(2, 3, 4)))


def test_combined() -> None:
    """x - 2 y + 3 c: coefficients of x and of y; what carries no bounds has none."""
    x, y, constant, rows = interval(2, 3, 1), interval(2, 1, 4), random(4, seed=6), rows_over((3, 4))
    in_x, in_y = broadcasting.combined(rows, (x, 1), (y, -2.0), (constant, 3))
    torch.testing.assert_close(value(in_x, x.lower) + value(in_y, y.lower), value(rows, x.lower - 2 * y.lower))
    assert torch.equal(broadcasting.combined(rows, (1.5, 2), (interval(2, 3, 4), -1)), -rows)


@pytest.mark.parametrize("constant", [(), (4,), (3, 1), (3, 4), (2, 3, 4), (2, 1, 4), (1, 3, 4)], ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_scaled(constant: tuple[int, ...], batch: int) -> None:
    """x * c for a constant that broadcasts against the node, with or without its batch, and an x that grows."""
    rows, factor = rows_over((3, 4), batch), random(*constant, seed=4)
    for shape in ((2, 3, 4), (2, 1, 4)):
        x = random(*shape, seed=5)
        found = broadcasting.scaled(rows, Interval(x, x), factor)
        torch.testing.assert_close(value(found, x).expand(2, 3), value(rows, (x * factor).expand(2, 3, 4)))
    assert torch.equal(broadcasting.scaled(rows, interval(2, 3, 4), -2), -2 * rows)


def test_transposed_and_reshaped() -> None:
    def forward(x: Tensor, factor: float) -> Tensor:
        return factor * x.transpose(1, 2).cumsum(1)

    x, rows = random(2, 3, 4, seed=2), rows_over((4, 3))
    found = linear_forms.transposed(forward, rows, Interval(x, x), 2.0)
    torch.testing.assert_close(value(found, x), value(rows, forward(x, 2.0)))
    flat = linear_forms.reshaped_to(rows_over((12,)), Interval(x, x))
    torch.testing.assert_close(value(flat, x), value(rows_over((12,)), x.flatten(1)))


def test_rows_fold_into_the_batch_and_back() -> None:
    rows = rows_over((3, 4))
    folded = linear_forms.fold_rows(rows)
    assert folded.shape == (6, 3, 4)
    assert torch.equal(linear_forms.unfold_rows(folded, rows), rows)


@pytest.mark.parametrize(("operand", "result"), [((2, 3), (4, 2, 3)), ((1, 3), (5, 3)), ((2, 3), (2, 2, 3))], ids=str)
def test_a_moved_batch_is_refused(operand: tuple[int, ...], result: tuple[int, ...]) -> None:
    grown = interval(*result)
    checked = broadcasting.broadcast_checked(grown, 1.0, grown)
    for one, other in zip(checked, grown, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(
        GraphError, match="which moves its batch dimension; unsqueeze it where the new dimension belongs"
    ):
        broadcasting.broadcast_checked(grown, interval(*operand))
