"""Softmax of masked scores."""

from __future__ import annotations

import pytest
import torch

from boundgraph.ops import masked_softmax, softmax
from boundgraph.ops.masked_softmax import MASKED_SOFTMAX
from boundgraph.testing import Perturbed, check_operator
from boundgraph.values import Interval

CAUSAL = torch.ones(3, 3, dtype=torch.bool).tril()
PADDED = torch.tensor([[True, True, False], [True, False, False]]).view(2, 1, 1, 3)
SUMMAND = torch.tensor([[0.0, 1.5, -0.5], [-torch.inf, 2.0, 0.0], [-torch.inf, 0.3, -torch.inf]])

LEAST = torch.zeros(3, 3).masked_fill(~CAUSAL, torch.finfo(torch.float32).min)


@pytest.mark.parametrize(
    "mask", [CAUSAL, PADDED, SUMMAND, ~CAUSAL, LEAST], ids=["causal", "padded", "summand", "nothing", "least"]
)
def test_laws(mask: torch.Tensor) -> None:
    check_operator(MASKED_SOFTMAX, cases=[(Perturbed(2, 2, 3, 3), mask)])


def test_laws_of_one_key() -> None:
    check_operator(MASKED_SOFTMAX, cases=[(Perturbed(2, 3, 1), torch.tensor([[True], [False], [True]]))])


@pytest.mark.parametrize("width", [0.1, 3.0, 100.0])
def test_a_mask_that_keeps_all_changes_nothing(width: float) -> None:
    center = torch.randn(2, 4, 5, dtype=torch.double)
    x, mask = Interval(center - width, center + width), torch.ones(4, 5, dtype=torch.bool)
    for one, other in zip(masked_softmax.interval(x, mask), softmax.interval(x, -1), strict=True):
        torch.testing.assert_close(one, other)
    found, expected = masked_softmax.relax(x, mask), softmax.relax(x, -1)
    for one, other in zip((*found.lower, *found.upper), (*expected.lower, *expected.upper), strict=True):
        torch.testing.assert_close(one, other)


def test_a_row_that_sees_nothing_is_zero_as_in_attention() -> None:
    x = torch.randn(1, 1, 2, 3)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    found = masked_softmax.forward(x, mask) @ torch.eye(3)
    query, key = x, torch.eye(3).view(1, 1, 3, 3)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, torch.eye(3).view(1, 1, 3, 3), mask, scale=1
    )
    torch.testing.assert_close(found, expected)


def test_where_the_least_number_swallows_the_scores_all_shares_are_possible() -> None:
    """In floats the softmax of x + min is uniform; bounds hold for that."""
    x = torch.randn(1, 2, 4)
    mask = torch.full((2, 4), torch.finfo(torch.float32).min)
    mask[1] = -torch.inf
    expected = torch.softmax(x[:, :1] + mask[:1], -1)
    torch.testing.assert_close(masked_softmax.forward(x, mask)[:, :1], expected)
    found = masked_softmax.interval(Interval(x, x), mask)
    assert found.lower.eq(0).all()
    assert found.upper.eq(torch.tensor([[1.0], [0.0]])).all()
    planes = masked_softmax.relax(Interval(x, x), mask)
    assert planes.lower.intercept.eq(0).all()
    assert planes.upper.intercept.eq(torch.tensor([[1.0], [0.0]])).all()
    assert planes.upper.coefficients.eq(0).all()
