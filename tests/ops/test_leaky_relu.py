"""LeakyReLU: the laws for convex, concave, linear and turning slopes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from boundgraph.ops.leaky_relu import LEAKY_RELU, forward, interval, relax
from boundgraph.testing import Perturbed, check_operator
from boundgraph.values import Interval

SLOPES = (-0.5, 0.0, 0.01, 0.2, 1.0, 1.5)


@pytest.mark.parametrize("slope", SLOPES)
def test_laws(slope: float) -> None:
    check_operator(LEAKY_RELU, cases=[(Perturbed(3, 2), slope)])


def test_modules() -> None:
    calls = [
        nn.LeakyReLU(0.3),
        nn.LeakyReLU(inplace=True),
        lambda x: F.leaky_relu(x, negative_slope=-1.0, inplace=True),
    ]
    check_operator(LEAKY_RELU, calls=calls)


@pytest.mark.parametrize("slope", SLOPES)
def test_definition(slope: float) -> None:
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    torch.testing.assert_close(forward(x, slope), torch.where(x >= 0, x, slope * x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("slope", "range_", "lines"),
    [
        (-1.0, (0.0, 2.0), (1.0, 0.0, 1 / 3, 4 / 3)),  # |x|
        (0.5, (-0.5, 2.0), (1.0, 0.0, 2.5 / 3, 1 / 3)),
        (1.0, (-1.0, 2.0), (1.0, 0.0, 1.0, 0.0)),  # the identity
        (2.0, (-2.0, 2.0), (4 / 3, -2 / 3, 1.0, 0.0)),  # concave: the chord lies below
    ],
)
def test_by_hand(slope: float, range_: tuple[float, ...], lines: tuple[float, ...]) -> None:
    """On [-1, 2]."""
    box = Interval(torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64))
    assert tuple(end.item() for end in interval(box, slope)) == range_
    found = [part.item() if part is not None else 0.0 for line in relax(box, slope) for part in line]
    assert found == pytest.approx(lines, abs=1e-15)
