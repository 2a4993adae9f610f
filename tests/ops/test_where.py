"""Choices by a constant condition, of numbers, constants and perturbed values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.where import WHERE
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten
MASK = torch.tensor([[True, False, True], [False, False, True]])


class Where(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.function(x, y)


def test_laws(tensor) -> None:
    image = torch.arange(9).reshape(3, 3) % 2 == 0
    cases = [
        (MASK, Perturbed(2, 3), Perturbed(2, 3)),
        (MASK, Perturbed(2, 3), tensor(2, 3)),
        (MASK, tensor(3), Perturbed(2, 3)),
        (MASK, 1.5, Perturbed(2, 3)),
        (MASK[0], Perturbed(2, 3), Perturbed(2, 1)),
        (MASK, Perturbed(2, 1), 0.0),
        (MASK[:, :1], Perturbed(2, 3), 2),
        (MASK.unsqueeze(2), Perturbed(2, 1, 4), Perturbed(2, 3, 1)),
        (image, Perturbed(2, 2, 3, 3), Perturbed(2, 2, 3, 3)),
        (image, Perturbed(2, 2, 3, 3), 0.5),
        (image, Perturbed(2, 2, 3, 3), Perturbed(2, 2, 1, 3)),
        (image[:1], Perturbed(2, 2, 1, 3), Perturbed(2, 2, 3, 3)),
    ]
    calls = [
        lambda x, y: x.where(MASK, y),
        lambda x, y: torch.masked_fill(x, MASK, 2.0) + torch.where(MASK, x, y),
        lambda x, y: x.masked_fill(MASK, 2.0) + y,
        lambda x, y: (x + 0).masked_fill_(mask=MASK, value=-1.0) + y,
        lambda x, y: aten.masked_fill.Scalar(x, MASK, 2.0) + y,
        lambda x, y: aten.masked_fill.Tensor(x, MASK, torch.tensor(2.0)) + y,
        lambda x, y: aten.where.ScalarOther(MASK, x, 2.0) + y,
        lambda x, y: aten.where.ScalarSelf(MASK, 2.0, x) + y,
        Where(lambda x, y: torch.where(MASK, x, y)),
    ]
    check_operator(WHERE, cases=cases, calls=calls)


class Gaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 2)
        self.register_buffer("mask", torch.tensor([True, False, True]))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.where(self.mask, torch.relu(self.first(x)), self.second(x))
        return self.out(y.masked_fill(~self.mask, 0.5))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_network(method: str) -> None:
    check_sound(Gaps(), boundgraph.LpBall(torch.randn(3, 4), eps=0.3), method=method)


def test_infinite_fillings_leave_the_others_alone(bound) -> None:
    bounds = bound(lambda x: x.masked_fill(torch.tensor([True, False]), -math.inf), torch.zeros(1, 2), "ibp")
    assert bounds.lower.tolist() == [[-math.inf, -0.5]]
    assert bounds.upper.tolist() == [[-math.inf, 0.5]]


def test_a_perturbed_condition_is_refused(bound) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="a condition on a perturbed value has no bounds"):
        bound(lambda x: torch.where(x > 0, x, 2 * x), torch.zeros(1, 2))
