"""Softmax and its logarithm: along any dimension, of any size of numbers, and against other bounds."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.softmax import LOG_SOFTMAX, SOFTMAX, interval, logarithm_interval, relax
from boundgraph.testing import Perturbed, check_operator, check_sound
from boundgraph.values import Interval

aten = torch.ops.aten

CASES = [
    (Perturbed(2, 3, 4), -1),
    (Perturbed(2, 3, 4), 1),
    (Perturbed(3, 2), 1),
    (Perturbed(2, 3, 1, 2), -3),
    (Perturbed(2, 1), 1),
]


def test_laws() -> None:
    calls = [
        nn.Softmax(-1),
        nn.Softmin(1),
        lambda x: F.softmax(x, dim=-1),
        lambda x: x.softmax(dim=2),
        lambda x: torch.special.softmax(x, 1),
        lambda x: aten.softmax.int(x, 1),
        lambda x: aten._softmax.default(x, 1, False),
        lambda x: torch.softmax(input=x, dim=1),
    ]
    check_operator(SOFTMAX, cases=CASES, calls=calls)


def test_laws_of_the_logarithm() -> None:
    calls = [
        nn.LogSoftmax(-1),
        lambda x: F.log_softmax(x, dim=-1),
        lambda x: x.log_softmax(2),
        lambda x: torch.special.log_softmax(x, 1),
        lambda x: aten._log_softmax.default(x, 1, False),
        lambda x: torch.log_softmax(x, 1),
    ]
    check_operator(LOG_SOFTMAX, cases=CASES, calls=calls)


def test_softmax_of_images(bound, tensor) -> None:
    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.softmax = nn.Softmax2d()

        def forward(self, x: Tensor) -> Tensor:
            return self.softmax(x)

    check_sound(Images(), boundgraph.LpBall(tensor(2, 3, 2, 2), 0.3), method="crown")


def test_intervals_are_the_range(tensor) -> None:
    """Both ends are values at corners of the box."""
    center, radius = tensor(2, 4), tensor(2, 4).abs()
    corners = torch.stack([center + radius * torch.tensor(signs) for signs in product((-1.0, 1.0), repeat=4)])
    box = Interval(center - radius, center + radius)
    for found, values in ((interval(box, 1), corners.softmax(2)), (logarithm_interval(box, 1), corners.log_softmax(2))):
        torch.testing.assert_close(found.lower, values.amin(0))
        torch.testing.assert_close(found.upper, values.amax(0))


def test_large_numbers_are_told_apart() -> None:
    """An element far ahead of the others, which float32 cannot add up with them."""
    x = torch.tensor([[1e3, 0.0, 0.0]])
    found = interval(Interval(x - torch.tensor([[1010.0, 0.0, 0.0]]), x), 1)
    torch.testing.assert_close(found.lower[0, 0], torch.sigmoid(torch.tensor(-10.0) - torch.log(torch.tensor(2.0))))
    wide = Interval(torch.full((1, 3), -1e4), torch.full((1, 3), 1e4))
    for plane in relax(wide, 1)[:2]:
        assert plane.coefficients.isfinite().all()
        assert plane.intercept.isfinite().all()


class Classifier(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(4, 6), nn.Linear(6, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.last(torch.relu(self.first(x))), dim=-1)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax, F.softmin])
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("eps", [0.05, 1.0])
def test_classifier(tensor, function, method: str, eps: float) -> None:
    check_sound(Classifier(function), boundgraph.LpBall(tensor(3, 4), eps), method=method)


def test_refusals(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match="softmax over dimension 0 mixes examples of the batch"):
        bound(lambda x: x.softmax(0), tensor(2, 3))
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="softmax without a dimension guesses it"):
        bound(lambda x: F.softmax(x), tensor(2, 3))
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="softmax in another dtype has no bound rule"):
        bound(lambda x: x.softmax(1, dtype=torch.float32), tensor(2, 3))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("common", [1e3, 1e5, 1e9, -1e9])
@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax])
def test_a_large_common_part_changes_nothing(bound, function, common: float, method: str) -> None:
    """As of a row that is masked by -1e9 as a whole: torch takes the largest element off first, and so do the rules."""
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    shifted = x + common
    for eps in (0.0, 0.1):
        found = bound(lambda z: function(z + common, 1), x, method, eps=eps)
        expected = function(shifted, 1)
        assert bool((found.lower <= expected + 1e-4).all())
        assert bool((found.upper >= expected - 1e-4).all())
        if eps == 0:
            torch.testing.assert_close(found.lower, expected, rtol=0, atol=2e-3)
