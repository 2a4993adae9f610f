"""Logarithms of sums of exponentials."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import boundgraph
from boundgraph.ops.logsumexp import LOGSUMEXP, relax
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

aten = torch.ops.aten


class Reduced(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.logsumexp((1, 2))


def test_laws() -> None:
    cases = [
        (Perturbed(2, 3, 4), (1, 2), False),
        (Perturbed(2, 3, 4), -1, True),
        (Perturbed(2, 3, 1, 2), [1], False),
        (Perturbed(2, 3, 1, 2), (1, 3), True),
        (Perturbed(3, 1), 1, False),
        (Perturbed(2, 2, 2, 2), 2, False),
    ]
    check_operator(LOGSUMEXP, cases=cases, calls=[Reduced(), lambda x: torch.logsumexp(x, dim=1, keepdim=True)])


def test_no_overflow() -> None:
    planes = relax(Interval(torch.tensor([[-1e4, 5e3]]), torch.tensor([[1e4, 6e3]])), 1)
    for plane in (planes.lower, planes.upper):
        assert plane.coefficients.isfinite().all()
        assert plane.intercept.isfinite().all()


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)).reshape(-1, 2, 3).logsumexp(1))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_in_a_network(tensor, method: str) -> None:
    check_sound(Network(), boundgraph.LpBall(tensor(3, 4), 0.2), method=method)


def test_over_the_batch_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match="logsumexp over dimension 0 mixes examples of the batch"):
        bound(lambda x: torch.logsumexp(x, (0, 1)), tensor(2, 3))
