"""Norms over dimensions of each example."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import boundgraph
from boundgraph.ops.norm import NORM, relax
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

aten = torch.ops.aten


class Length(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(x, 2, (1, 2))


def test_laws() -> None:
    cases = [
        (Perturbed(2, 3, 4), (1, 2), False),
        (Perturbed(2, 3, 4), -1, True),
        (Perturbed(2, 3, 1, 2), [1], False),
        (Perturbed(3, 1), 1, False),
        (Perturbed(2, 2, 2, 2), (1, 3), True),
    ]
    calls = [
        Length(),
        lambda x: torch.linalg.norm(x, dim=1),
        lambda x: torch.linalg.norm(x, "fro", dim=(1, 2)),
        lambda x: torch.norm(x, dim=1),
        lambda x: x.norm(2, 1, keepdim=True),
        lambda x: x.norm(dim=1),
    ]
    check_operator(NORM, cases=cases, calls=calls)


def test_at_the_origin() -> None:
    """Where the norm has no gradient, and where all is 0."""
    for radius in (0.0, 1.0):
        ends = torch.full((1, 3), radius, dtype=torch.float64)
        planes = relax(Interval(-ends, ends), 1)
        assert planes.lower.coefficients.abs().max() == 0
        assert planes.lower.intercept.item() == 0
        assert planes.upper.coefficients.abs().max() == 0
        torch.testing.assert_close(planes.upper.intercept.item(), radius * math.sqrt(3))


class Distances(nn.Module):
    def __init__(self, order: float) -> None:
        super().__init__()
        self.first, self.last, self.order = nn.Linear(4, 6), nn.Linear(2, 3), order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.linalg.vector_norm(self.first(x).reshape(-1, 2, 3), self.order, dim=2))


@pytest.mark.parametrize("order", [1, 2, math.inf])
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_in_a_network(tensor, method: str, order: float) -> None:
    for eps in (0.05, 1.0):
        check_sound(Distances(order), boundgraph.LpBall(tensor(3, 4), eps), method=method)


def test_refusals(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match="norm over dimension 0 mixes examples of the batch"):
        bound(torch.linalg.vector_norm, tensor(2, 3))
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="the norm of order 3 has no bound rule"):
        bound(lambda x: x.norm(3, 1), tensor(2, 3))
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="a norm of matrices has no bound rule"):
        bound(lambda x: torch.linalg.norm(x, 2, (1, 2)), tensor(2, 3, 3))
