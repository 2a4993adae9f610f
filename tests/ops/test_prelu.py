"""PReLU: the laws for weights of all kinds, alone and per channel; gradients of the weight."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.prelu import PRELU, forward, interval, relax
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

WEIGHTS = torch.tensor([-0.5, 0.0, 0.01, 0.9, 1.5])  # at 1 convex turns into concave, a kink in the weight


@pytest.mark.parametrize("weight", [*WEIGHTS.split(1)], ids=str)
def test_laws(weight: Tensor) -> None:
    check_operator(PRELU, cases=[(Perturbed(3, 2), weight)], calls=None)


def test_laws_of_channels() -> None:
    cases = [(Perturbed(3, 5), WEIGHTS), (Perturbed(2, 5, 3), WEIGHTS), (Perturbed(2, 5, 2, 2), WEIGHTS)]
    check_operator(PRELU, cases=cases, calls=[nn.PReLU(5, init=0.3)])


def test_modules() -> None:
    calls = [nn.PReLU(), nn.PReLU(init=-0.4), nn.PReLU(2, init=1.7)]
    check_operator(PRELU, cases=[(Perturbed(3, 2), torch.tensor([0.25]))], calls=calls)


def test_definition() -> None:
    x = torch.linspace(-3, 3, 15, dtype=torch.float64).reshape(3, 5)
    weight = WEIGHTS.double()
    torch.testing.assert_close(forward(x, weight), torch.where(x >= 0, x, weight * x), rtol=0, atol=0)


def test_by_hand() -> None:
    """On [-1, 2], for |x|, a leaky rectifier, the identity and a concave function."""
    low, high = torch.full((1, 4), -1.0).double(), torch.full((1, 4), 2.0).double()
    box, weight = Interval(low, high), torch.tensor([-1.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    expected = [(0, 2), (-0.5, 2), (-1, 2), (-2, 2)]
    assert list(zip(*(end[0].tolist() for end in interval(box, weight)), strict=True)) == expected
    found = torch.stack([part[0] for line in relax(box, weight) for part in line]).T
    lines = [[1, 0, 1 / 3, 4 / 3], [1, 0, 2.5 / 3, 1 / 3], [1, 0, 1, 0], [4 / 3, -2 / 3, 1, 0]]
    torch.testing.assert_close(found, torch.tensor(lines, dtype=torch.float64))


def test_a_weight_that_is_no_number_proves_nothing() -> None:
    box = Interval(torch.tensor([[-1.0, 1.0]]), torch.tensor([[1.0, 2.0]]))
    for line in relax(box, torch.tensor([math.nan])):
        assert bool(line.slope.isnan().all())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.one, self.fc = nn.Conv2d(1, 5, 2), nn.PReLU(5), nn.Linear(45, 6)
        self.other, self.last = nn.PReLU(), nn.Linear(6, 3)
        self.one.weight = nn.Parameter(WEIGHTS.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.other(self.fc(self.one(self.conv(x)).flatten(1))))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_networks(method: str) -> None:
    model, x = Net(), torch.rand(2, 1, 4, 4)
    check_sound(model, boundgraph.LpBall(x, eps=0.1), method=method)
    bounds = boundgraph.compile(model, method)(x, eps=0.1)
    (bounds.upper - bounds.lower).sum().backward()
    for layer in (model.one, model.other):
        assert layer.weight.grad is not None
        assert bool(layer.weight.grad.isfinite().all())
        assert bool((layer.weight.grad != 0).any())
