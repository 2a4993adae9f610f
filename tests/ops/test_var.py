"""Variances and standard deviations over dimensions of each example."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

import boundgraph
from boundgraph import squares
from boundgraph.ops.var import STD, VAR
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

aten = torch.ops.aten

CASES = [
    (Perturbed(2, 3, 4), (1, 2), 1, False),
    (Perturbed(2, 3, 4), -1, 0, True),
    (Perturbed(2, 3, 1, 2), [1], 1.5, False),
    (Perturbed(3, 2), 1, 0, False),
    (Perturbed(2, 2, 2, 2), (1, 3), 0, True),
    (Perturbed(3, 1), 1, 0, False),
]


@pytest.mark.parametrize("operator", [VAR, STD], ids=lambda operator: operator.name)
def test_laws(operator) -> None:
    name = operator.name
    function, with_mean, kernel = getattr(torch, name), getattr(torch, f"{name}_mean"), getattr(aten, name)
    calls = [
        lambda x: function(x, (1, 2)),
        lambda x: function(x, dim=1, unbiased=False),
        lambda x: getattr(x, name)(-1, True, True),
        lambda x: getattr(x, name)(dim=-1, correction=0),
        lambda x: kernel.default(x) + x,
        lambda x: kernel.dim(x, [1]),
        lambda x: kernel.correction(x, [1], correction=0.5),
        lambda x: with_mean(x, 1)[0] + with_mean(x, 1)[1],
        Of(name),
    ]
    check_operator(operator, cases=CASES, calls=calls)


class Of(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(x, self.name)(1)


def test_the_least_is_exact(tensor) -> None:
    """No point of the box has a smaller variance than the one found, which lies in the box."""
    center, radius = tensor(50, 4), tensor(50, 4).abs()
    box = Interval(center - radius, center + radius)
    about = squares.balance(box)
    assert about.shape == (50, 1)
    found = squares.least(box, centred=True).square().sum(1)
    nearest = torch.minimum(torch.maximum(about, box.lower), box.upper)
    torch.testing.assert_close(found, 4 * nearest.var(1, correction=0))
    away = torch.relu(box.lower - about) - torch.relu(about - box.upper)
    torch.testing.assert_close(away.sum(1), torch.zeros_like(found))  # where a convex function has no slope


def test_the_most_holds_at_corners(tensor) -> None:
    center, radius = tensor(50, 4), tensor(50, 4).abs()
    corners = torch.stack([center + radius * torch.tensor(signs) for signs in product((-1.0, 1.0), repeat=4)])
    largest = 4 * corners.var(2, correction=0).amax(0)
    found = squares.most(Interval(center - radius, center + radius), centred=True).square().sum(1)
    assert (found >= largest).all()
    assert (found <= 1.3 * largest).all()


class Spreads(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(4, 6), nn.Linear(2, 3), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.function(self.first(x).reshape(-1, 2, 3), dim=2))


@pytest.mark.parametrize("function", [torch.var, torch.std])
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_in_a_network(tensor, method: str, function) -> None:
    for eps in (0.05, 1.0):
        check_sound(Spreads(function), boundgraph.LpBall(tensor(3, 4), eps), method=method)


def test_refusals(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match="variance over dimension 0 mixes examples of the batch"):
        bound(lambda x: x.var((0, 1)), tensor(2, 3))
    with pytest.raises(boundgraph.GraphError, match="standard deviation over dimension 0 mixes examples"):
        bound(lambda x: x.std(), tensor(2, 3))
