"""Diagonals and triangles of matrices within each example."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.diagonal import DIAG_EMBED, DIAGONAL, TRIL, TRIU
from boundgraph.testing import Perturbed, check_operator


def test_laws() -> None:
    x = Perturbed(2, 3, 4)
    check_operator(DIAGONAL, cases=[(x, 0, 1, 2), (x, 1, -1, 1), (x, -1, -2, -1)])
    check_operator(DIAG_EMBED, cases=[(x,), (x, 1), (x, -1, 1, -1), (Perturbed(2, 3), 0, 1, 2)])
    check_operator(TRIL, cases=[(x,), (x, 1), (Perturbed(2, 2, 3, 3), -1)])
    check_operator(TRIU, cases=[(x,), (x, 1), (Perturbed(2, 2, 3, 3), -1)])


def test_a_mask_of_the_lower_triangle(bound, tensor) -> None:
    x = tensor(2, 3, 3)
    bounds = bound(lambda x: x.tril() + x.triu(1), x)
    torch.testing.assert_close(bounds.lower, x - 0.5)


REFUSED = {
    "diagonal": torch.diagonal,
    "tril": torch.tril,
    "triu": lambda x: x.triu(1),
    "diag_embed": lambda x: torch.diag_embed(x, 0, 0, 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_matrix_of_examples_is_refused(bound, tensor, name: str) -> None:
    with pytest.raises(boundgraph.GraphError, match="over dimension 0 mixes examples"):
        bound(REFUSED[name], tensor(2, 2))
