"""Circular padding layers, which look at the number of dimensions before they call `F.pad`."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F

from boundgraph.layers.registry import written_as


@written_as(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)
def circular_pad(layer: Any, input: Any) -> Any:
    return F.pad(input, layer.padding, "circular")
