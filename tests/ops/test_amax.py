"""Maxima and minima over dimensions of each example, alone and with their indices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import boundgraph
from boundgraph.ops.amax import AMAX, AMIN, relax
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

aten = torch.ops.aten

CASES = [
    (Perturbed(2, 3, 4), 1, False),
    (Perturbed(2, 3, 4), (-1, 1), True),
    (Perturbed(2, 3, 1, 2), [2], False),
    (Perturbed(2, 3, 4, 2), (1, 3), False),
    (Perturbed(2, 2, 2, 2), (-1,), True),
    (Perturbed(3, 5), -1, False),
]


@pytest.mark.parametrize("operator", [AMAX, AMIN], ids=lambda operator: operator.name)
def test_laws(operator) -> None:
    name, short = operator.name, operator.name[1:]
    of_one_dim, atens = getattr(torch, short), getattr(aten, short)
    calls = [
        lambda x: getattr(torch, name)(x, dim=(1, 2)),
        lambda x: getattr(x, name)(-1, keepdim=True),
        lambda x: of_one_dim(x, 1)[0],
        lambda x: of_one_dim(input=x, dim=1, keepdim=True).values,
        lambda x: getattr(x, short)(dim=-1)[0],
        lambda x: atens.dim(x, 1)[0],
        OfOneDim(short),
        All(name),
    ]
    check_operator(operator, cases=CASES, calls=calls)


class OfOneDim(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values, _ = getattr(x, self.name)(1)
        return values


class All(OfOneDim):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(torch, self.name)(x, (1, 2))


@pytest.mark.parametrize(
    ("lower", "upper", "slopes", "intercept"),
    [
        ([0.0, 3.0], [2.0, 5.0], [0.0, 1.0], 0.0),  # the second wins whatever happens
        ([0.0, 1.0], [2.0, 5.0], [0.0, 0.75], 1.25),  # chord of max(x, 2) on [1, 5]
        ([1.0, 1.0], [1.0, 1.0], [1.0, 0.0], 0.0),  # a tie of points
    ],
)
def test_by_hand(lower: list[float], upper: list[float], slopes: list[float], intercept: float) -> None:
    planes = relax(Interval(torch.tensor([lower]), torch.tensor([upper])), 1)
    assert planes.upper.coefficients.flatten().tolist() == slopes
    assert planes.upper.intercept.item() == intercept


class Pooled(nn.Module):
    """Point-wise layers around the largest and the smallest of all points."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        points = torch.relu(self.first(x))
        return self.last(torch.cat((points.max(1).values, points.amin(1)), 1))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_in_a_network(tensor, method: str) -> None:
    check_sound(Pooled(), boundgraph.LpBall(tensor(2, 4, 3), 0.2), method=method)


@pytest.mark.parametrize("name", ["amax", "amin", "max", "min"])
def test_over_the_batch_is_refused(bound, tensor, name: str) -> None:
    with pytest.raises(boundgraph.GraphError, match="imum over dimension 0 mixes examples of the batch"):
        bound(lambda x: getattr(x, name)(), tensor(2, 3))
    with pytest.raises(boundgraph.GraphError, match="imum over dimension 0 mixes examples of the batch"):
        bound(lambda x: getattr(torch, name[-3:])(x, 0)[0], tensor(2, 3))


def test_indices_are_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="indices of a maximum or minimum of perturbed"):
        bound(lambda x: x.max(1).indices.double(), tensor(2, 3))


def test_indices_of_exact_values(tensor) -> None:
    """Nothing bounds them, and nothing needs to."""
    model = Weighted().double()
    x = tensor(2, 3)
    torch.testing.assert_close(boundgraph.compile(model, "crown")(x, eps=0.0).lower, model(x))


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 5.0, 2.0], [0.0, 1.0, 7.0], [9.0, 3.0, 4.0]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values, indices = self.weight.max(1)
        return x * indices.to(x.dtype) + values + self.weight.min(0).indices.to(x.dtype)


def test_indices_may_be_left(tensor) -> None:
    class Values(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            values, _ = x.max(1, keepdim=True)
            return values

    check_sound(Values(), boundgraph.LpBall(tensor(2, 3), 0.1), method="crown")


def test_both_parts_at_once_are_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.CaptureError, match="the number of its parts is not known before the graph runs"):
        bound(lambda x: x.max(1), tensor(2, 3))
