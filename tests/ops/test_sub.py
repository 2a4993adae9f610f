"""Differences: alpha of either sign, broadcasting, reversed scalars."""

from __future__ import annotations

import torch

from boundgraph.ops.sub import SUB
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


def test_laws(tensor) -> None:
    both = [(Perturbed(2, 3), Perturbed(2, 3), alpha) for alpha in (1, 2.5, -0.5, 0)]
    grown = [
        (Perturbed(2, 3, 1), Perturbed(2, 1, 4)),
        (Perturbed(2, 1, 4), tensor(3, 1), -2),
        (tensor(3, 4), Perturbed(2, 1, 1)),
    ]
    exact = [
        (Perturbed(2, 3), 1.5),
        (0.5, Perturbed(2, 3), -2),
        (Perturbed(2, 3), tensor(2, 3)),
        (tensor(2, 1), Perturbed(2, 3)),
    ]
    calls = [
        lambda x, y: torch.sub(x, y, alpha=-2),
        lambda x, y: torch.rsub(x, y, alpha=3),
        lambda x, y: aten.rsub.Tensor(x, y),
        lambda x, y: aten.rsub.Scalar(x, 2.0, 3.0) - y,
        lambda x, y: aten.sub.Scalar(x, 2.0) - y,
    ]
    check_operator(SUB, cases=both + grown + exact, calls=calls)


def test_by_hand(bound) -> None:
    """3 - 2 x and (2 - x) - x on [0, 1]."""
    x = torch.full((1, 1), 0.5)
    for function in (lambda x: torch.rsub(x, 3, alpha=2), lambda x: 3 - x - x, lambda x: 3 - torch.sub(x, x, alpha=-1)):
        bounds = bound(function, x)
        assert (bounds.lower.item(), bounds.upper.item()) == (1.0, 3.0)
