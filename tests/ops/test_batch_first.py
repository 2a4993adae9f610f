"""What stands where a batch would be moved: values that stay as they are, with a check."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops import batch_first
from boundgraph.testing import Perturbed, check_operator
from boundgraph.values import Interval


def test_laws() -> None:
    check_operator(batch_first.SEQUENCE, cases=[(Perturbed(2, 3, 4),), (Perturbed(2, 1, 3, 2),)])
    check_operator(batch_first.ROWS, cases=[(Perturbed(2, 3, 4), 4), (Perturbed(3, 2, 2), 4)])


def test_a_matrix_is_no_sequence() -> None:
    x = torch.zeros(2, 3)
    for call in (lambda: batch_first.sequence(x), lambda: batch_first.sequence_interval(Interval(x, x))):
        with pytest.raises(boundgraph.GraphError, match=r"shape \(2, 3\) moves dimension 0"):
            call()


def test_constants_beside_turned_values() -> None:
    x = torch.randn(2, 3, 4)
    for shape in ((3, 2, 4), (3, 1, 4), (1, 4), (2, 4), (4,), ()):
        constant = torch.randn(shape)
        expected = (x.transpose(0, 1) + constant).transpose(0, 1)
        torch.testing.assert_close(x + batch_first.beside_turned(constant, x.shape), expected)
    with pytest.raises(boundgraph.GraphError, match="moves the batch"):
        batch_first.beside_turned(torch.randn(1, 1, 1, 1), x.shape)
    with pytest.raises(boundgraph.GraphError, match="one row per row"):
        batch_first.beside_merged(torch.randn(6, 4), x.shape)


def test_shapes() -> None:
    x = torch.randn(2, 3, 5, 4)
    assert batch_first.turned_shape(x.shape) == x.transpose(0, 1).shape
    assert batch_first.merged_shape(x.shape) == x.reshape(-1, 4).shape
