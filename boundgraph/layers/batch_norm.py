"""BatchNorm without its shape checks, which branch on the input, and without its batch counter."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F

from boundgraph.layers.registry import written_as


@written_as(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def batch_norm(layer: Any, x: Any) -> Any:
    use_batch_statistics = layer.training or layer.running_mean is None
    return F.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, use_batch_statistics, 0.0, layer.eps
    )
