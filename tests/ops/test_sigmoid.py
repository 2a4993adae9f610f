"""Sigmoid: the laws, and the constants its rules are made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from boundgraph.ops.sigmoid import SIGMOID, curvature_at, point_with_slope, relax, slope_at
from boundgraph.testing import check_operator
from boundgraph.values import Interval


def test_laws() -> None:
    check_operator(SIGMOID, calls=[nn.Sigmoid()])


def test_derivatives() -> None:
    """slope_at and curvature_at are the first two derivatives, and point_with_slope undoes the first."""
    x = torch.linspace(0, 30, 61, dtype=torch.float64).requires_grad_()
    (first,) = torch.autograd.grad(torch.sigmoid(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(slope_at(x), first, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(curvature_at(x), second, rtol=1e-9, atol=1e-15)
    # near 0 the slope is flat, and half its digits are all it can say about the point
    torch.testing.assert_close(point_with_slope(slope_at(x)), x, rtol=1e-7, atol=torch.finfo(x.dtype).eps ** 0.5 * 4)


@pytest.mark.parametrize("slope", [0.0, 0.25, 0.2500001])
def test_extreme_slopes_give_a_point(slope: float) -> None:
    """No slope at all belongs to the point at infinity, the largest to 0; rounding beyond it must not give NaN."""
    point = point_with_slope(torch.tensor(slope))
    assert point.item() == pytest.approx(torch.inf if slope == 0 else 0.0, abs=1e-6)


def test_tangent_through_the_left_end() -> None:
    """On [-4, 4] the upper line passes through (-4, f(-4)) and touches where its slope is f's."""
    box = Interval(torch.tensor([[-4.0]], dtype=torch.float64), torch.tensor([[4.0]], dtype=torch.float64))
    lower, upper = relax(box)
    touching = point_with_slope(upper.slope)
    for x in (box.lower, touching):
        torch.testing.assert_close(upper.slope * x + upper.intercept, torch.sigmoid(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(lower.slope, upper.slope)  # f(x) + f(-x) = 1
    torch.testing.assert_close(lower.intercept, 1 - upper.intercept)
