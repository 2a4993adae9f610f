"""Products over a dimension, of one factor and of several."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.prod import PROD
from boundgraph.testing import Perturbed, check_operator, check_sound


class Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.prod(-1)


def test_laws() -> None:
    cases = [
        (Perturbed(2, 2, 3), 1),
        (Perturbed(2, 3), -1),
        (Perturbed(2, 3, 2), 1, True),
        (Perturbed(2, 1, 2), 1),
        (Perturbed(2, 2, 2, 2), -2, True),
    ]
    check_operator(PROD, cases=cases, calls=[Last(), lambda x: torch.prod(x, dim=1), lambda x: x.prod(axis=2)])


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 6), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.first(x).reshape(x.shape[0], 2, 3).prod(2))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_network(method: str) -> None:
    check_sound(Pairs(), boundgraph.LpBall(torch.randn(3, 4), eps=0.3), method=method)


def test_refusals(bound) -> None:
    x = torch.ones(2, 3)
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="mixes the examples of the batch"):
        bound(lambda x: x * x.prod(), x)
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="in another dtype"):
        bound(lambda x: x.prod(1, dtype=torch.double), x)
    with pytest.raises(boundgraph.GraphError, match="product over dimension 0"):
        bound(lambda x: x * x.prod(0), x)
