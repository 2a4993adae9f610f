"""Products of two vectors per example: dot products, cosines, bilinear layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph import operator
from boundgraph.testing import check_sound

aten = torch.ops.aten


class Two(nn.Module):
    """A function of two branches of one input, neither of which comes near 0."""

    def __init__(self, function) -> None:
        super().__init__()
        self.first, self.second, self.function = nn.Linear(4, 3), nn.Linear(4, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(2 + torch.sigmoid(self.first(x)), torch.tanh(self.second(x)) - 3)


DOTS = {
    "vecdot": lambda x, y: torch.linalg.vecdot(x, y),
    "vecdot, dim": lambda x, y: torch.linalg.vecdot(x, y, dim=1),
    "aten.vecdot": lambda x, y: aten.linalg_vecdot.default(x, y),
    "bilinear layer": nn.Bilinear(3, 3, 2),
    "bilinear": lambda x, y: F.bilinear(x, y, torch.ones(1, 3, 3, dtype=torch.float64)),
    "constant and perturbed": lambda x, y: F.bilinear(
        torch.ones(2, 3, dtype=torch.float64), y, torch.ones(1, 3, 3, dtype=torch.float64)
    ),
}
COSINES = {
    "cosine": F.cosine_similarity,
    "torch.cosine": lambda x, y: torch.cosine_similarity(x, y, dim=-1, eps=1e-6),
    "layer": nn.CosineSimilarity(),
}


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", DOTS)
def test_dots(name: str, method: str) -> None:
    check_sound(Two(DOTS[name]), boundgraph.LpBall(torch.randn(2, 4), eps=0.2), method=method)


@pytest.mark.skipif(operator.rule_of(F.normalize) is None, reason="needs the room of F.normalize")
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", COSINES)
def test_cosines(name: str, method: str) -> None:
    for eps in (0.2, 5.0):
        check_sound(Two(COSINES[name]), boundgraph.LpBall(torch.randn(2, 4), eps=eps), method=method)
