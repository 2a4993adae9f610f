"""Derived lines beside the best there are, and beside rules written by hand."""

from __future__ import annotations

import pytest
import sympy
import torch
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Operator, X, find
from boundgraph.ops import activations
from boundgraph.scalar.activation import rules_of
from boundgraph.scalar.facts import derive
from boundgraph.scalar.lines import Rules
from boundgraph.scalar.shape import shape_of
from boundgraph.values import Interval, Relaxation

GRID = 1001


def boxes(scale: float = 3.0, count: int = 800) -> Interval:
    generator = torch.Generator().manual_seed(0)
    center = scale * torch.randn(count, 1, generator=generator, dtype=torch.float64)
    widths = torch.tensor([0.1, 1.0, 4.0, 10.0], dtype=torch.float64).repeat(count // 4).unsqueeze(1)
    radius = widths * torch.rand(count, 1, generator=generator, dtype=torch.float64) / 2 + 1e-3
    return Interval(center - radius, center + radius)


def heights(lines: Relaxation, x: Interval) -> Tensor:
    """The area between the lines, over the width."""
    lower, upper = (line.slope * x.center + (0.0 if line.intercept is None else line.intercept) for line in lines)
    return upper - lower


def best_heights(function: torch.nn.Module, x: Interval) -> Tensor:
    """The least there can be: the distance of concave and convex hull in the middle, on a dense grid."""
    points = torch.lerp(x.lower, x.upper, torch.linspace(0, 1, GRID, dtype=torch.float64))
    values = function(points)

    def hull(values: Tensor) -> Tensor:  # the slope of the line above that is lowest in the middle, by bisection
        least, most = (torch.full_like(x.center, end) for end in (-60.0, 60.0))
        for _ in range(60):
            slope = (least + most) / 2
            right = points.gather(1, (values - slope * points).argmax(1, keepdim=True)) > x.center
            least, most = torch.where(right, slope, least), torch.where(right, most, slope)
        return (values - slope * points).amax(1, keepdim=True) + slope * x.center

    return hull(values) + hull(-values)


NAMES = ("SILU", "MISH", "GELU", "TANHSHRINK", "SOFTSIGN", "HARDSWISH", "HARDSIGMOID", "SOFTPLUS", "ELU", "SELU",
         "HARDTANH", "SOFTSHRINK", "HARDSHRINK", "ATAN", "ASINH", "ERF", "SIN", "EXP")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_lines_leave_hardly_more_than_the_least_area(name: str) -> None:
    """A few thousandths more on the average, and 3 % more where the table is at its roughest."""
    op: Operator = getattr(activations, name)
    x, rules = boxes(), rules_of(op)
    if rules.period is not None:  # over a period and more, two constants have to do
        short = (2 * x.radius < rules.period).squeeze(1)
        x = Interval(x.lower[short], x.upper[short])
    found, best = heights(rules.relax(x), x), best_heights(rules.shape.function, x)
    worth = best > 1e-4
    ratio = found[worth] / best[worth]
    assert float(ratio.max()) < 1.03
    assert float(found.mean() / best.mean()) < 1.006


def test_steps_have_two_constants() -> None:
    x = boxes()
    rules = rules_of(activations.SIGN)
    for line, end in zip(rules.relax(x), rules.interval(x), strict=True):
        assert not bool(line.slope.any())
        torch.testing.assert_close(line.intercept, end)


def wave(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x) + torch.exp(-x * x)


def test_a_made_up_activation() -> None:
    rules = Rules(shape_of(derive(X / (1 + sympy.exp(-X)) + sympy.exp(-(X**2))), wave))
    x = boxes()
    ratio = heights(rules.relax(x), x) / best_heights(wave, x)
    assert float(ratio.max()) < 1.03
    assert float(ratio.mean()) < 1.006


@pytest.mark.parametrize("function", [torch.relu, torch.abs, torch.tanh, torch.sigmoid])
def test_rules_written_by_hand_are_the_derived_ones(function) -> None:
    op = find(function)
    assert op is not None
    assert op.definition is not None
    assert op.relax is not None
    x, rules = boxes(), Rules(shape_of(derive(op.definition), op.forward))
    for by_hand, derived in zip(op.interval(x), rules.interval(x), strict=True):
        torch.testing.assert_close(by_hand, derived)
    ours, derived = heights(op.relax(x), x), heights(rules.relax(x), x)
    assert float(ours.mean() / derived.mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lines_are_numbers_far_out(dtype: torch.dtype) -> None:
    low = torch.tensor([[-1e30], [-1e10], [1e10], [-5.0]], dtype=dtype)
    high = torch.tensor([[1e30], [1e10], [1e11], [1e20]], dtype=dtype)
    for function in (F.silu, F.mish, F.gelu, F.hardswish, torch.atan, torch.erf):
        op = find(function)
        assert op is not None
        assert op.relax is not None
        values = ("none",) if function is F.gelu else ()
        for line in op.relax(Interval(low, high), *values):
            assert bool(line.slope.isfinite().all())
            assert bool(line.intercept.isfinite().all())
