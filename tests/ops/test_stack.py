"""Values stacked along a new dimension, some of them exact."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.stack import STACK
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten


def test_laws(tensor) -> None:
    cases = [
        ([Perturbed(2, 3), Perturbed(2, 3)], 1),
        ([tensor(2, 3), Perturbed(2, 3), Perturbed(2, 3)], -1),
        ((Perturbed(2, 3, 2), tensor(2, 3, 2)), -2),
        ([Perturbed(2)], 1),
    ]
    calls = [lambda x, y: torch.stack(tensors=(y, x), dim=-1), lambda x, y: aten.stack.default([x, y], 1)]
    check_operator(STACK, cases=cases, calls=calls)


def test_beside_each_other(bound, tensor) -> None:
    """x and 2 x, summed, are 3 x."""
    x = tensor(2, 3)
    for function in (lambda x: torch.stack([x, 2 * x]), lambda x: torch.stack([x, 2 * x], -3)):
        with pytest.raises(boundgraph.GraphError, match=r"stack\(dim=.*\) over dimension 0 mixes examples"):
            bound(function, x)
    bounds = bound(lambda x: torch.stack([x, 2 * x], 1).sum(1), x)
    torch.testing.assert_close(bounds.upper, 3 * x + 1.5)
