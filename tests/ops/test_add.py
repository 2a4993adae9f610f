"""Sums: alpha of either sign, broadcasting, one or two operands with bounds."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.add import ADD
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


def cases(tensor) -> list[tuple]:
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
        (Perturbed(2, 3), tensor(2, 1)),
    ]
    return both + grown + exact + [(Perturbed(2, 3), torch.tensor([1, 2, 3])), (Perturbed(2, 3), tensor())]


def test_laws(tensor) -> None:
    calls = [
        lambda x, y: torch.add(x, y, alpha=-2),
        lambda x, y: aten.add.Scalar(x, 2.0) + y,
    ]
    check_operator(ADD, cases=cases(tensor), calls=calls)


def test_the_same_value_twice(bound, tensor) -> None:
    """x + x is 2 x, not a sum of two independent intervals; and x added in place is seen by later readers."""
    x = tensor(2, 3)

    def in_place(x):
        y = x * 1
        y += x
        return y

    for function in (lambda x: x + x, in_place, lambda x: 1 + x + x - 1):
        bounds = bound(function, x)
        torch.testing.assert_close(bounds.lower, 2 * x - 1)
        torch.testing.assert_close(bounds.upper, 2 * x + 1)


def test_refuses_to_move_the_batch(bound, tensor) -> None:
    constant = tensor(4, 2, 3)
    with pytest.raises(boundgraph.GraphError, match=r"\(2, 3\) is broadcast to \(4, 2, 3\), which moves its batch"):
        bound(lambda x: x + constant, tensor(2, 3))
