"""PReLU: the laws for slopes of every kind, for all channels and for each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.leaky_relu import relax as relax_leaky
from boundgraph.ops.prelu import PRELU, relax
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

SLOPES = torch.tensor([-0.5, 0.0, 0.25, 0.9, 1.5])  # at 1 the lines change places, and have no gradient in the slope


@pytest.mark.parametrize("slope", SLOPES.tolist())
def test_laws(slope: float) -> None:
    check_operator(PRELU, cases=[(Perturbed(3, 2), torch.tensor([slope]))])


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 3)])
def test_laws_for_each_channel(shape: tuple[int, ...]) -> None:
    check_operator(PRELU, cases=[(Perturbed(2, *shape), SLOPES)])


def test_modules() -> None:
    shared, weight = nn.PReLU(), nn.PReLU(4, init=-0.3).weight.detach()
    check_operator(
        PRELU, cases=[(Perturbed(2, 4, 3), torch.full((4,), 0.2))], calls=[lambda x: F.prelu(x, weight), shared]
    )


def test_same_lines_as_leaky_relu() -> None:
    box = Interval(torch.tensor([[-1.0, -2.0, -1.0, 0.5, -3.0]]), torch.tensor([[2.0, 1.0, 1.0, 1.0, -1.0]]))
    for slope in torch.cat([SLOPES, torch.ones(1)]):
        for ours, theirs in zip(relax(box, slope[None]), relax_leaky(box, slope.item()), strict=True):
            intercept = torch.zeros(1, 5) if theirs.intercept is None else theirs.intercept
            torch.testing.assert_close(ours.slope, theirs.slope, rtol=0, atol=0)
            torch.testing.assert_close(ours.intercept, intercept, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_network(method: str) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3), nn.PReLU(3, init=0.4), nn.Flatten(), nn.Linear(12, 4), nn.PReLU(), nn.Linear(4, 2)
    check_sound(nn.Sequential(*layers), boundgraph.LpBall(torch.randn(2, 1, 4, 4), 0.3), method=method)


def test_gradient_reaches_the_slope() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 2))
    bounds = boundgraph.compile(model)(boundgraph.LpBall(torch.randn(2, 3), 0.5))
    assert isinstance(bounds.lower, Tensor)
    bounds.lower.sum().backward()
    assert model[1].weight.grad is not None
    assert model[1].weight.grad.abs().sum() > 0
