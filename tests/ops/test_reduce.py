"""Sums and means over dimensions of each example."""

from __future__ import annotations

import pytest
import torch

import boundgraph
from boundgraph.ops.reduce import MEAN, SUM
from boundgraph.testing import Perturbed, check_operator

aten = torch.ops.aten

CASES = [
    (Perturbed(2, 3, 4), 1, False),
    (Perturbed(2, 3, 4), (1, -1), True),
    (Perturbed(2, 3), [1], False),
    (Perturbed(2, 3, 1, 2), -2, True),
]


def test_sum_laws() -> None:
    calls = [
        lambda x: torch.sum(x, dim=(1, 2)),
        lambda x: x.sum(-1, keepdim=True),
        lambda x: x.sum(axis=1),
        lambda x: aten.sum.dim_IntList(x, [1]),
        lambda x: aten.sum.default(x) + x,
    ]
    check_operator(SUM, cases=CASES, calls=calls)


def test_mean_laws() -> None:
    calls = [
        lambda x: torch.mean(x, dim=(1, 2)),
        lambda x: x.mean(-1, keepdim=True),
        lambda x: x.mean(axis=1),
        lambda x: aten.mean.dim(x, [1]),
        lambda x: aten.mean.default(x) + x,
    ]
    check_operator(MEAN, cases=CASES, calls=calls)


@pytest.mark.parametrize("name", ["sum", "mean"])
@pytest.mark.parametrize("dim", [None, 0, -2, (), (0, 1), [1, -2]], ids=str)
def test_over_the_batch_is_refused(bound, tensor, name: str, dim: object) -> None:
    with pytest.raises(boundgraph.GraphError, match=f"{name} over dimension 0 mixes examples of the batch"):
        bound(lambda x: getattr(x, name)(dim), tensor(2, 3))


def test_another_dtype_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match="a sum or mean in another dtype has no bound rule"):
        bound(lambda x: x.sum(1, dtype=torch.float32), tensor(2, 3))
