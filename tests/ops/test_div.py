"""Quotients by constants, whole numbers included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.div import DIV
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


def test_laws(tensor) -> None:
    cases = [
        (Perturbed(2, 3), tensor(2, 3)),
        (Perturbed(2, 3), -1.5),
        (Perturbed(2, 3), 3),
        (Perturbed(2, 3), tensor(2, 1)),
        (Perturbed(2, 1, 4), tensor(3, 1)),
        (Perturbed(2, 3), torch.tensor([3, -7, 9])),
        (Perturbed(2, 3), tensor()),
    ]
    calls = [
        lambda x: torch.div(x, 3.0),
        lambda x: torch.divide(x, -3.0),
        lambda x: x.div(3.0),
        lambda x: (x + 0).div_(3.0),
        lambda x: x.divide(3.0),
        lambda x: aten.div.Scalar(x, 3.0),
    ]
    check_operator(DIV, cases=cases, calls=calls)


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_rounding_is_refused(bound, tensor, mode: str) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match=f"rounding_mode='{mode}' has no bound rule"):
        bound(lambda x: torch.div(x, 2, rounding_mode=mode), tensor(2, 3))


class Ratio(nn.Module):
    """Quotients whose divisors stay away from 0, on either side."""

    def __init__(self) -> None:
        super().__init__()
        self.above, self.below = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        below = 1 + torch.relu(self.below(x))
        return self.above(x) / below + 2 / below - torch.ones(3) / -below + below.reciprocal()


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_perturbed_divisor(method: str) -> None:
    check_sound(Ratio(), boundgraph.LpBall(torch.randn(3, 4), eps=0.2), method=method)


def test_quotient_of_independent_values_has_their_range(bound) -> None:
    x = torch.tensor([[1.0, 4.0]])
    first, second = torch.eye(2).split(1, dim=1)
    bounds = bound(lambda x: (x @ first) / (x @ second), x, "ibp", eps=1.0)
    torch.testing.assert_close(bounds.lower, torch.tensor([[0.0]]))
    torch.testing.assert_close(bounds.upper, torch.tensor([[2 / 3]]))


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_division_by_zero_is_no_certificate(bound, method: str) -> None:
    bounds = bound(lambda x: x / torch.tensor([0.0, 1.0]), torch.ones(1, 2), method=method)
    assert bounds.lower[0, 0].isnan()
