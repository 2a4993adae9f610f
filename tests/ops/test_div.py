"""Quotients by constants, whole numbers included."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.div import DIV
from boundgraph.testing import Perturbed, check_operator

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


def test_perturbed_divisor_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="div has bounds in x only, but `y` is perturbed"):
        bound(lambda x: 1 / x, tensor(2, 3))


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_division_by_zero_is_no_certificate(bound, method: str) -> None:
    bounds = bound(lambda x: x / torch.tensor([0.0, 1.0]), torch.ones(1, 2), method=method)
    assert bounds.lower[0, 0].isnan()
