"""Products with constants of either sign, on either side."""

from __future__ import annotations

import torch

from boundgraph.ops.mul import MUL
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


def test_laws(tensor) -> None:
    cases = [
        (Perturbed(2, 3), tensor(2, 3)),
        (Perturbed(2, 3), -1.5),
        (2, Perturbed(2, 3)),
        (Perturbed(2, 3), tensor(2, 1)),
        (Perturbed(2, 1, 4), tensor(3, 1)),
        (tensor(3, 4), Perturbed(2, 1, 1)),
        (Perturbed(2, 3), torch.tensor([1, 0, -3])),
        (Perturbed(2, 3), tensor()),
        (tensor(2, 3, 1), Perturbed(2, 1, 4)),
        (Perturbed(2, 3), 0),
    ]
    check_operator(MUL, cases=cases, calls=[lambda x: aten.mul.Scalar(x, -2.0), lambda x: 3 * x])


def test_infinite_factor_is_no_certificate(bound) -> None:
    bounds = bound(lambda x: x * torch.inf, torch.ones(1, 2), method="ibp")
    assert not bounds.lower.isfinite().any()
