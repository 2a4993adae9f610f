"""Permuted and transposed dimensions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops.permute import MOVEDIM, PERMUTE, TRANSPOSE
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


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
    calls = [lambda x: x.transpose(dim0=1, dim1=-1), lambda x: torch.transpose(x, 2, 1), lambda x: x.mT]
    calls += [lambda x: aten.mT.default(x)]
    check_operator(TRANSPOSE, cases=cases, calls=calls)


def test_movedim_laws() -> None:
    cases = [(Perturbed(2, 3, 4), 1, -1), (Perturbed(2, 3, 4, 1), (1, 2), (-1, 1))]
    check_operator(MOVEDIM, cases=cases, calls=[lambda x: x.movedim(source=2, destination=1)])


class Transposed(nn.Module):
    """Of weights any transpose will do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(3, 4)), nn.Parameter(torch.rand(3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + x @ self.weight.t() + self.bias.t()


def test_transposed_weights() -> None:
    check_sound(Transposed(), boundgraph.LpBall(torch.rand(2, 4), eps=0.1), method="crown")


@pytest.mark.parametrize("call", [lambda x: x.T, lambda x: x.t(), torch.t])
def test_transposed_batches_are_refused(bound, tensor, call) -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError, match=r"must stay the batch; x.mT transposes the matrices"):
        bound(call, tensor(2, 3))


def test_moving_the_batch_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"transpose\(0, 1\) over dimension 0 mixes examples"):
        bound(lambda x: x.permute(1, 0, 2), tensor(2, 3, 4))
    with pytest.raises(boundgraph.GraphError, match=r"transpose\(0, 1\) over dimension 0 mixes examples"):
        bound(lambda x: x.transpose(0, 1), tensor(2, 3, 4))
    with pytest.raises(boundgraph.GraphError, match=r"transpose\(2, -3\) over dimension 0 mixes examples"):
        bound(lambda x: x.transpose(2, -3), tensor(2, 3, 4))
    with pytest.raises(boundgraph.GraphError, match=r"movedim\(0, 1\) over dimension 0 mixes examples"):
        bound(lambda x: x.movedim(0, 1), tensor(2, 3, 4))
