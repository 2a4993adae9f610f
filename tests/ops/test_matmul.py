"""Matrix products with a constant on either side, stacks of matrices and broadcasting."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.matmul import MATMUL
from boundgraph.testing import Perturbed, check_operator


def test_laws(tensor) -> None:
    cases = [
        (Perturbed(2, 3), tensor(3, 4)),
        (Perturbed(3, 3), tensor(3, 3)),
        (Perturbed(2, 5, 3), tensor(3, 4)),
        (Perturbed(2, 5, 3), tensor(2, 3, 4)),
        (Perturbed(2, 5, 3), tensor(1, 3, 4)),
        (tensor(4, 3), Perturbed(2, 3, 5)),
        (tensor(2, 4, 3), Perturbed(2, 3, 5)),
        (tensor(3, 2, 4), Perturbed(2, 3, 4, 2)),
        (Perturbed(2, 3, 2, 4), tensor(3, 4, 2)),
        # the operand with bounds is broadcast along an inner dimension
        (Perturbed(2, 1, 2, 4), tensor(3, 4, 2)),
        (tensor(3, 2, 4), Perturbed(2, 1, 4, 2)),
    ]
    check_operator(MATMUL, cases=cases, calls=[])


REFUSED = {
    "a vector": ((2, 3), lambda x: x @ torch.ones(3)),
    "examples as columns": ((2, 3), lambda x: torch.ones(4, 2) @ x),
    "examples as rows of a stack": ((2, 3), lambda x: x @ torch.ones(2, 3, 4)),
    "a higher stack": ((2, 4, 3), lambda x: x @ torch.ones(5, 2, 3, 4)),
    "a higher stack on the left": ((2, 4, 3), lambda x: torch.ones(5, 2, 3, 4) @ x),
    "another batch": ((1, 4, 3), lambda x: x @ torch.ones(5, 3, 4)),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_mixing_examples_is_refused(bound, method: str, name: str) -> None:
    shape, function = REFUSED[name]
    with pytest.raises(boundgraph.GraphError, match="matrix product"):
        bound(function, torch.ones(shape), method)
