"""Dimensions gathered behind the others, and sums without one element."""

from __future__ import annotations

import pytest
import torch

from boundgraph.planes import gathered, gathered_rows, spread, spread_rows, sum_of_others


@pytest.mark.parametrize("dims", [(1,), (3,), (2, 1), (1, 2, 3)])
def test_spread_undoes_gathered(dims: tuple[int, ...]) -> None:
    value = torch.randn(2, 3, 4, 5)
    assert torch.equal(spread(gathered(value, dims), dims, [value.shape[dim] for dim in dims]), value)
    rows = torch.randn(2, 7, 3, 4, 5)
    behind = gathered_rows(rows, dims, value.shape)
    assert behind.shape[-2] == 7
    assert torch.equal(spread_rows(behind, dims, value.shape), rows)


@pytest.mark.parametrize("kept", [False, True])
def test_rows_of_a_reduced_value(kept: bool) -> None:
    value = torch.randn(2, 3, 4, 5)
    shape = value.sum((1, 3), keepdim=kept).shape
    rows = torch.randn(1, 7, *shape[1:])
    behind = gathered_rows(rows, (1, 3), value.shape)
    assert behind.shape == (1, 4, 7, 1)
    assert torch.equal(behind.squeeze(-1).mT.flatten(), rows.flatten())


def test_sums_without_one_element() -> None:
    """To the last bits, also without an element that outweighs all others."""
    value = torch.rand(50, 9, dtype=torch.float64)
    value[:, 3] *= 1e20
    value[:5] = 0
    expected = torch.stack([value[:, torch.arange(9) != i].sum(1) for i in range(9)], 1)
    torch.testing.assert_close(sum_of_others(value), expected, rtol=1e-15, atol=0)
    assert sum_of_others(value[:, :1]).abs().max() == 0
