"""Power-average pooling is written out as torch computes it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import boundgraph
from boundgraph.capture import Constants, capture, graph_module
from boundgraph.testing import check_sound
from passes import primal

LAYERS = [
    nn.LPPool1d(2, 3),
    nn.LPPool1d(3, 2, stride=1, ceil_mode=True),
    nn.LPPool2d(2, (2, 3), stride=2, ceil_mode=True),
    nn.LPPool2d(1.5, 2),
    nn.LPPool2d(1, 2),
    nn.LPPool2d(math.inf, 2),
    nn.LPPool2d(-math.inf, 2, ceil_mode=True),
    nn.LPPool3d(2, 2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_it_computes_the_same(layer: nn.Module) -> None:
    constants = Constants()
    written_out = primal.canonicalize(graph_module(capture(layer, constants), layer, constants))
    dims = int(type(layer).__name__[-2])
    x = torch.randn(2, 2, *[5] * dims, dtype=torch.float64)
    for each in (x, x.abs()):
        torch.testing.assert_close(written_out(each), layer(each), equal_nan=True)


@pytest.mark.parametrize("norm", [1, math.inf, -math.inf])
def test_bounds(norm: float) -> None:
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LPPool2d(norm, 2)), torch.rand(2, 1, 6, 6)
    for method in ("ibp", "crown-ibp", "crown"):
        check_sound(model, boundgraph.LpBall(x, eps=0.1), method=method)
