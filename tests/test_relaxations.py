"""The geometry of lines: ranges, kinks and S-shapes, for functions that no operator needs to have."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundgraph.relaxations import LOWER_SLOPES, interval_between, kinked, s_shaped
from boundgraph.values import Interval, Line

EPS = torch.finfo(torch.float64).eps
ends = st.floats(-1e4, 1e4, allow_subnormal=False)


def box(first: float, second: float) -> Interval:
    return Interval(*(torch.tensor([[end]], dtype=torch.float64) for end in sorted((first, second))))


def on(line: Line, x: Tensor) -> Tensor:
    return line.slope * x + (0 if line.intercept is None else line.intercept)


def grid(x: Interval, *points: float) -> Tensor:
    """(1, n): end points, points between them, and the given ones where they lie inside."""
    inner = torch.lerp(x.lower, x.upper, torch.linspace(0, 1, 101, dtype=torch.float64))
    return torch.cat((inner, torch.tensor([points], dtype=torch.float64).clamp(x.lower, x.upper)), 1)


def slack(line: Line, x: Interval, values: Tensor) -> Tensor:
    """Eight roundings of the largest number involved, as derived in `boundgraph.testing.trials`."""
    farthest = torch.maximum(x.lower.abs(), x.upper.abs())
    return (
        8 * EPS * (line.slope.abs() * farthest + values.abs().amax(1, keepdim=True)) + torch.finfo(torch.float64).tiny
    )


# ---------------------------------------------------------------------- ranges


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.floats(-8, 8), st.floats(-8, 8))
def test_interval_between_is_the_range(first: float, second: float) -> None:
    """sin turns at pi / 2 + k pi; the range on [l, u] follows from the ends and the turning points inside."""
    x = box(first, second)
    turning = [math.pi / 2 + k * math.pi for k in range(-4, 4)]
    values = torch.sin(grid(x, *turning))
    found = interval_between(torch.sin, x, turning)
    torch.testing.assert_close(found.lower, values.amin(1, keepdim=True), rtol=0, atol=2 * EPS)
    torch.testing.assert_close(found.upper, values.amax(1, keepdim=True), rtol=0, atol=2 * EPS)


def test_interval_between_keeps_nan() -> None:
    nan, one = torch.tensor([[math.nan]]), torch.ones(1, 1)
    for x in (Interval(nan, one), Interval(-one, nan), Interval(nan, nan)):
        assert all(end.isnan().all() for end in interval_between(torch.abs, x, (0.0,)))


# ---------------------------------------------------------------------- kinks


@settings(deadline=None, max_examples=200, derandomize=True)
@given(ends, ends, st.sampled_from((-2.0, -1.0, 0.0, 0.1, 1.0, 1.5, 4.0)), st.sampled_from(LOWER_SLOPES))
def test_kinked_lines_enclose(first: float, second: float, left: float, choice: str) -> None:
    x = box(first, second)
    points = grid(x, 0.0)
    values = torch.where(points >= 0, points, left * points)
    lower, upper = kinked(x, left, choice)
    assert (on(lower, points) <= values + slack(lower, x, values)).all()
    assert (on(upper, points) >= values - slack(upper, x, values)).all()


@pytest.mark.parametrize("choice", LOWER_SLOPES)
@pytest.mark.parametrize("left", [-1.0, 0.0, 0.25, 2.0])
def test_kinked_is_exact_beside_the_kink(left: float, choice: str) -> None:
    for ends_, slope in (((0.5, 2.0), 1.0), ((0.0, 2.0), 1.0), ((-2.0, -0.5), left), ((-2.0, 0.0), left)):
        for line in kinked(box(*ends_), left, choice):
            assert (line.slope.item(), on(line, torch.zeros(())).item()) == (slope, 0.0)


def test_adaptive_has_the_least_area() -> None:
    """Between s x, 0 <= s <= 1, and relu lies u (u - s u) / 2 + l (l s) / 2: least at s = 1 if u > -l, else at 0."""
    for first, second in ((-1.0, 3.0), (-3.0, 1.0), (-2.0, 1.99)):
        x = box(first, second)
        area = {s: second**2 * (1 - s) / 2 + first**2 * s / 2 for s in torch.linspace(0, 1, 21).tolist()}
        assert kinked(x, 0.0, "adaptive").lower.slope.item() == min(area, key=area.__getitem__)


# ---------------------------------------------------------------------- S-shapes


def point_where_atan_has(slope: Tensor) -> Tensor:
    return (1 / slope - 1).clamp(min=0).sqrt()


def point_where_softsign_has(slope: Tensor) -> Tensor:
    return 1 / slope.sqrt() - 1


def lifted(x: Tensor) -> Tensor:
    """Not odd: f(0) = 3."""
    return torch.atan(x) + 3


SHAPES = {
    "atan": (torch.atan, lambda x: 1 / (1 + x**2), lambda x: -2 * x / (1 + x**2) ** 2, point_where_atan_has),
    "lifted atan": (lifted, lambda x: 1 / (1 + x**2), lambda x: -2 * x / (1 + x**2) ** 2, point_where_atan_has),
    "softsign": (
        torch.nn.functional.softsign,
        lambda x: 1 / (1 + x.abs()) ** 2,
        lambda x: -2 * x.sign() / (1 + x.abs()) ** 3,
        point_where_softsign_has,
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@settings(deadline=None, max_examples=100, derandomize=True)
@given(ends, st.one_of(ends, st.floats(-1e-3, 1e-3)), st.booleans())
def test_s_shaped_lines_enclose_and_touch(shape: str, first: float, second: float, narrow: bool) -> None:
    """Lines stay outside the function, and each touches it: at an end, or where its slope is the function's."""
    x = box(first, first + second if narrow else second)
    lower, upper = s_shaped(*SHAPES[shape], x)
    for line, side in ((lower, 1.0), (upper, -1.0)):
        turn = SHAPES[shape][3](line.slope).item()
        points = grid(x, -turn, turn, 0.0)
        values = SHAPES[shape][0](points)
        gap, allowed = side * (values - on(line, points)), slack(line, x, values)
        assert (gap >= -allowed).all()
        assert gap.min() <= 2 * allowed


@pytest.mark.parametrize("width", [0.0, 1e-7, 1e-6, 1e-4, 1e-3, 4e-3, 6e-3, 1e-2])
def test_s_shaped_slopes_survive_rounding(width: float) -> None:
    """Each slope is f' somewhere in the box and |f''| <= 1 for atan, so it is within the width of f'(middle), up to the
    rounding of a chord: 6 eps for two values below 1.5, over the least width that has chords, eps^(1/3)."""
    eps = torch.finfo(torch.float32).eps
    lower = torch.linspace(-3, 3, 601).unsqueeze(1)
    x = Interval(lower, lower + width)
    for line in s_shaped(*SHAPES["atan"], x):
        difference = (line.slope - SHAPES["atan"][1](x.center)).abs()
        assert (difference <= width + 6 * eps ** (2 / 3)).all()


def test_s_shaped_by_hand() -> None:
    """Concave side: the tangent in the middle above, the chord below; convex side: the other way round."""
    (lower, upper), (below, above) = (
        s_shaped(*SHAPES["atan"], box(1.0, 3.0)),
        s_shaped(*SHAPES["atan"], box(-3.0, -1.0)),
    )
    chord = (math.atan(3) - math.atan(1)) / 2
    assert lower.slope.item() == pytest.approx(chord)
    assert upper.slope.item() == pytest.approx(1 / 5)
    assert on(upper, torch.tensor(2.0)).item() == pytest.approx(math.atan(2))
    assert (below.slope.item(), above.slope.item()) == pytest.approx((1 / 5, chord))
    assert (below.intercept.item(), above.intercept.item()) == pytest.approx(
        (-upper.intercept.item(), -lower.intercept.item())
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("low", "high"), [(-0.5, 3.0), (-1.0, 1.5), (-2.0, 2.0), (-3.0, 0.2), (-6.0, 6.0)])
def test_s_shaped_lines_leave_the_least_area(shape: str, low: float, high: float) -> None:
    """Of all slopes, each with its best intercept on a grid; the area depends on the line's value in the middle alone."""
    x = box(low, high)
    points = torch.linspace(low, high, 2001, dtype=torch.float64)
    values, middle = SHAPES[shape][0](points), (low + high) / 2
    slopes = torch.linspace(0, 1, 2001, dtype=torch.float64).unsqueeze(1)
    least = ((values - slopes * points).amax(1) + slopes[:, 0] * middle).amin()
    most = ((values - slopes * points).amin(1) + slopes[:, 0] * middle).amax()
    lower, upper = s_shaped(*SHAPES[shape], x)
    assert on(upper, x.center).item() == pytest.approx(least.item(), abs=1e-3)
    assert on(lower, x.center).item() == pytest.approx(most.item(), abs=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("poisoned", [(math.nan, 1.0), (-1.0, math.nan), (math.nan, math.nan)])
def test_s_shaped_keeps_nan(shape: str, poisoned: tuple[float, float]) -> None:
    x = Interval(*(torch.tensor([[end]]) for end in poisoned))
    for line in s_shaped(*SHAPES[shape], x):
        assert line.slope.isnan().all() or line.intercept.isnan().all()
