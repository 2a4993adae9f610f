"""Patches of images, their sum, and windows along a dimension."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.unfold import FOLD, UNFOLD, WINDOWS
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


def test_laws() -> None:
    cases = [(Perturbed(2, 2, 3, 4), 2), (Perturbed(2, 1, 4, 4), (2, 1), (1, 2), (1, 0), 2)]
    calls = [nn.Unfold(2, padding=1, stride=2), lambda x: aten.im2col.default(x, [2, 2], [1, 1], [0, 0], [1, 1])]
    check_operator(UNFOLD, cases=cases, calls=calls)
    cases = [(Perturbed(2, 8, 6), (3, 4), 2), (Perturbed(2, 4, 4), (3, 3), (2, 2), 1, 1, 2)]
    calls = [nn.Fold((3, 4), 2), lambda x: aten.col2im.default(x, [3, 4], [2, 2], [1, 1], [0, 0], [1, 1])]
    check_operator(FOLD, cases=cases, calls=calls)
    cases = [(Perturbed(2, 5), 1, 3, 2), (Perturbed(2, 2, 5), -1, 2, 1)]
    check_operator(WINDOWS, cases=cases, calls=[lambda x: x.unfold(dimension=1, size=2, step=1)])


class AsProduct(nn.Module):
    """A convolution as a product with patches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 18))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.weight @ F.unfold(x, 3, padding=1)).unflatten(2, x.shape[2:])


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_a_convolution_as_a_product(method: str) -> None:
    torch.manual_seed(0)
    model, x = AsProduct(), torch.rand(2, 2, 4, 3)
    check_sound(model, boundgraph.LpBall(x, eps=0.1), method=method)
    layer = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.ReLU())
    layer[0].weight.data = model.weight.data.reshape(3, 2, 3, 3)
    found, expected = (boundgraph.compile(each, method)(x, eps=0.1) for each in (model, layer))
    torch.testing.assert_close(found.lower, expected.lower)


def test_without_a_batch_is_refused(bound, tensor) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"unfold over 2 dimension\(s\) needs shape"):
        bound(lambda x: F.unfold(x, 2), tensor(2, 3, 3))
    with pytest.raises(boundgraph.GraphError, match="fold needs shape"):
        bound(lambda x: F.fold(x, (3, 3), 2), tensor(4, 4))
    with pytest.raises(boundgraph.GraphError, match=r"unfold\(dimension=0\) over dimension 0"):
        bound(lambda x: x.unfold(0, 1, 1), tensor(2, 3))
