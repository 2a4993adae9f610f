"""Permuted and transposed dimensions."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.permute import PERMUTE, TRANSPOSE
from boundgraph.testing import Perturbed, check_operator


def test_permute_laws() -> None:
    cases = [(Perturbed(2, 3, 4), (0, 2, 1)), (Perturbed(2, 3, 1, 2), [0, -1, 1, 2]), (Perturbed(2, 3), (-2, -1))]
    calls = [
        lambda x: x.permute(0, 2, 1),
        lambda x: x.permute(dims=(0, 2, 1)),
        lambda x: torch.permute(x, dims=(0, 2, 1)),
    ]
    check_operator(PERMUTE, cases=cases, calls=calls)


def test_transpose_laws() -> None:
    cases = [(Perturbed(2, 3, 4), 1, 2), (Perturbed(2, 3, 4, 1), -1, 1)]
    calls = [lambda x: x.transpose(dim0=1, dim1=-1), lambda x: torch.transpose(x, 2, 1)]
    check_operator(TRANSPOSE, cases=cases, calls=calls)


def test_moving_the_batch_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"permute\(1, 0, 2\) moves dimension 0, which must stay the batch"):
        bound(lambda x: x.permute(1, 0, 2), tensor(2, 3, 4))
    with pytest.raises(boundgraph.GraphError, match=r"transpose\(0, 1\) over dimension 0 mixes examples"):
        bound(lambda x: x.transpose(0, 1), tensor(2, 3, 4))
    with pytest.raises(boundgraph.GraphError, match=r"transpose\(2, -3\) over dimension 0 mixes examples"):
        bound(lambda x: x.transpose(2, -3), tensor(2, 3, 4))
