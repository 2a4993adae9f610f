"""How large a model is."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.layers import ClippedReLU


class ModelSize(NamedTuple):
    """How large a model is, per example where that matters."""

    parameters: int
    relus: int  # neurons that pass through a ReLU or a clipped one
    macs: int  # multiply-accumulates of the convolutions and linear layers in one forward pass


def measure(model: nn.Module, shape: Sequence[int]) -> ModelSize:
    """Parameters, ReLU neurons and multiply-accumulates of a model on one input of this shape; computes no values."""
    relus = macs = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal relus, macs
        if isinstance(layer, nn.ReLU | ClippedReLU):
            relus += output.numel()
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            macs += output.numel() * layer.weight[0].numel()  # one row of the weight per output

    shadow = copy.deepcopy(model).to("meta").eval()  # shapes without values; in eval mode BatchNorm takes one example
    for layer in shadow.modules():
        layer.register_forward_hook(count)
    shadow(torch.zeros(1, *shape, device="meta"))
    return ModelSize(sum(p.numel() for p in model.parameters()), relus, macs)
