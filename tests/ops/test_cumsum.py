"""Running sums along a dimension of each example."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import boundgraph
from boundgraph.ops.cumsum import CUMSUM
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


def test_laws() -> None:
    cases = [(Perturbed(2, 3, 4), 1), (Perturbed(2, 3), -1), (Perturbed(3, 1, 2), 1)]
    calls = [
        lambda x: torch.cumsum(x, dim=1),
        lambda x: x.cumsum(-1),
        lambda x: aten.cumsum.default(x, 2),
    ]
    check_operator(CUMSUM, cases=cases, calls=calls)


class Integrated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x).cumsum(1)))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_in_a_network(tensor, method: str) -> None:
    check_sound(Integrated(), boundgraph.LpBall(tensor(3, 4), 0.2), method=method)


def test_refusals(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match="cumsum over dimension 0 mixes examples of the batch"):
        bound(lambda x: x.cumsum(0), tensor(2, 3))
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="a sum in another dtype has no bound rule"):
        bound(lambda x: x.cumsum(1, dtype=torch.float32), tensor(2, 3))
