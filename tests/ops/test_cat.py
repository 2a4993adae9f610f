"""Concatenation of pieces with and without bounds."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.cat import CAT, HSTACK
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


def test_laws(tensor) -> None:
    cases = [
        ([Perturbed(2, 3), Perturbed(2, 1)], 1),
        ((Perturbed(2, 3, 2), tensor(2, 1, 2)), 1),
        ([tensor(2, 3, 1), Perturbed(2, 3, 2), tensor(2, 3, 1)], -1),
        ([Perturbed(2, 2)], 1),
        ([Perturbed(2, 1, 2), tensor(2, 1, 2), Perturbed(2, 3, 2)], -2),
    ]
    check_operator(CAT, cases=cases, calls=[lambda x, y: torch.cat(tensors=(y, x), dim=-1)])


def test_one_value_twice(bound, tensor) -> None:
    """x beside 2 x, summed, is 3 x."""
    x = tensor(2, 3)
    bounds = bound(lambda x: torch.cat([x, 2 * x], 1).reshape(-1, 2, 3).sum(1), x)
    torch.testing.assert_close(bounds.lower, 3 * x - 1.5)
    torch.testing.assert_close(bounds.upper, 3 * x + 1.5)


def test_beside_each_other(bound, tensor) -> None:
    cases = [([Perturbed(2, 3), tensor(2, 1)],), ((Perturbed(2, 3, 1), Perturbed(2, 1, 1)),)]
    calls = [lambda x: torch.hstack((x, x)), lambda x: aten.hstack.default([x, x])]
    check_operator(HSTACK, cases=cases, calls=calls)
    weights = tensor(2), tensor(1)  # of constants it is what it is
    bound(lambda x: x @ torch.diag(torch.hstack(weights)), tensor(2, 3))
    with pytest.raises(boundgraph.GraphError, match="puts the examples beside each other"):
        bound(lambda x: torch.hstack((x[:, 0], x[:, 1])), tensor(2, 3))


def test_along_the_batch_is_refused(bound, tensor) -> None:
    for dim in (0, -2):
        with pytest.raises(boundgraph.GraphError, match=rf"cat\(dim={dim}\) over dimension 0 mixes examples"):
            bound(lambda x, dim=dim: torch.cat([x, x], dim), tensor(2, 3))


def test_empty_pieces_are_left_out() -> None:
    check_operator(CAT, cases=[([torch.zeros(0), Perturbed(2, 3, 2)], -2)], calls=None)
