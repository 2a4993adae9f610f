"""Maxima and minima of two values: both perturbed, or one of them constant."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.maximum import MAXIMUM, interval, relax, through
from boundgraph.ops.relu import RELU
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

aten = torch.ops.aten


class Maximum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(x, other=y)


class Fmax(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.fmax(x, y)


def test_laws(tensor) -> None:
    cases = [
        (Perturbed(2, 3), Perturbed(2, 3)),
        (Perturbed(2, 3), tensor(2, 3)),
        (tensor(3), Perturbed(2, 3)),
        (Perturbed(2, 3), tensor()),
        (Perturbed(2, 3), Perturbed(2, 1)),
        (Perturbed(2, 1, 4), Perturbed(2, 3, 1)),
        (Perturbed(2, 1, 4), tensor(3, 1)),
    ]
    check_operator(MAXIMUM, cases=cases, calls=[Maximum(), Fmax()])


def box(lower: float, upper: float) -> Interval:
    return Interval(torch.tensor([[lower]]), torch.tensor([[upper]]))


@pytest.mark.parametrize(
    ("x", "y", "below", "above"),
    [
        ((0, 1), (2, 3), (0, 1, 0), (0, 1, 0)),  # y is larger whatever happens
        ((2, 3), (0, 2), (1, 0, 0), (1, 0, 0)),  # so is x, down to a tie
        ((0, 4), (1, 2), (1, 0, 0), (0.5, 0, 2)),  # the chord of max(x, 2)
        ((0, 2), (0, 2), (0, 1, 0), (0, 0, 2)),
        ((1, 1), (1, 1), (0, 1, 0), (0, 0, 1)),
    ],
)
def test_by_hand(x: tuple, y: tuple, below: tuple, above: tuple) -> None:
    (of_x, of_y), offset = through(torch.tensor([[[1.0], [-1.0]]]), relax(box(*x), box(*y)))
    for row, sign, expected in ((0, 1, below), (1, -1, above)):
        found = [sign * part[0, row].item() for part in (of_x, of_y, offset)]
        assert found == list(expected)


def test_the_plane_above_is_as_high_as_the_maximum(tensor) -> None:
    x, y = (Interval(end, end + tensor(4, 5).abs()) for end in (tensor(4, 5), tensor(4, 5)))
    rows = -torch.eye(5, dtype=torch.float64).unsqueeze(0)
    parts, offset = through(rows, relax(x, y))
    highest = -offset
    for part, operand in zip(parts, (x, y), strict=True):
        highest = highest - (part * operand.center.unsqueeze(1) - part.abs() * operand.radius.unsqueeze(1)).sum(2)
    torch.testing.assert_close(highest, interval(x, y).upper)


def test_with_zero_it_is_a_relu(tensor) -> None:
    lower = tensor(4, 5)
    x, rows = Interval(lower, lower + tensor(4, 5).abs()), tensor(4, 3, 5)
    pulled, offset = through(rows, relax(x, torch.zeros(5, dtype=torch.float64)))
    lower, upper = RELU.relax(x)
    expected = rows.relu() * lower.slope.unsqueeze(1) + rows.clamp(max=0) * upper.slope.unsqueeze(1)
    torch.testing.assert_close(pulled, expected)
    torch.testing.assert_close(offset, (rows.clamp(max=0) * upper.intercept.unsqueeze(1)).sum(2))


class Maxout(nn.Module):
    """The larger of two affine maps, and the smaller of that and another (Goodfellow et al. 2013)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.out = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.minimum(torch.maximum(self.a(x), self.b(x)), self.c(x))
        return self.out(torch.maximum(y, torch.full((5,), -0.25, dtype=torch.float64)).minimum(self.c.bias))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("eps", [0.05, 0.5])
def test_maxout(method: str, eps: float) -> None:
    check_sound(Maxout().double(), boundgraph.LpBall(torch.randn(3, 4), eps=eps), method=method)


MINIMA = {
    "minimum": torch.minimum,
    "method": lambda x, y: x.minimum(y),
    "keyword": lambda x, y: torch.minimum(x, other=y),
    "fmin": torch.fmin,
    "aten": aten.minimum.default,
    "aten.fmin": aten.fmin.default,
    "x.fmin": lambda x, y: x.fmin(y),
}


@pytest.mark.parametrize("name", MINIMA)
def test_minimum(bound, tensor, name: str) -> None:
    x, y, call = tensor(2, 3), tensor(3), MINIMA[name]
    bounds = bound(lambda x: call(x, y) + call(-x, x), x, "ibp", eps=0.5)
    expected = torch.minimum(x - 0.5, y) + torch.minimum(-x, x) - 0.5
    torch.testing.assert_close(bounds.lower, expected)


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_nothing_is_certified_of_nan(bound, method: str) -> None:
    x = torch.tensor([[torch.nan, 1.0]])
    bounds = bound(lambda x: torch.maximum(x, torch.zeros(2)), x, method)
    assert bounds.lower[0, 0].isnan()
    assert bounds.upper[0, 0].isnan()
