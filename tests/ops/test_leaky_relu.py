"""LeakyReLU: the laws for convex, concave, linear and turning slopes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.leaky_relu import LEAKY_RELU, forward, interval, relax
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

SLOPES = (-0.5, 0.0, 0.01, 0.2, 1.0, 1.5)


@pytest.mark.parametrize("slope", SLOPES)
def test_laws(slope: float) -> None:
    check_operator(LEAKY_RELU, cases=[(Perturbed(3, 2), slope)], calls=None)


def test_modules() -> None:
    calls = [
        nn.LeakyReLU(0.3),
        nn.LeakyReLU(inplace=True),
        lambda x: F.leaky_relu(x, negative_slope=-1.0, inplace=True),
        nn.RReLU(),
        nn.RReLU(0.2, 0.4, inplace=True),
        lambda x: F.rrelu(x, upper=0.9),
        lambda x: F.rrelu_(x.clone(), 0.3, 0.5),
        lambda x: torch.rrelu(x, -0.5, 0.5),
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


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_networks(method: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.3), nn.Linear(8, 8), nn.RReLU(), nn.Linear(8, 3)).eval()
    check_sound(model, boundgraph.LpBall(torch.rand(2, 4), eps=0.1), method=method)


def test_random_slopes_are_refused() -> None:
    bounded = boundgraph.compile(nn.Sequential(nn.Linear(4, 8), nn.RReLU()))
    assert bounded.training
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="rrelu in train mode is random and has no bounds"):
        bounded(torch.rand(2, 4), eps=0.1)
    bounded.eval()(torch.rand(2, 4), eps=0.1)
