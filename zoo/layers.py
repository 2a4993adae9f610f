"""Layers that PyTorch does not have."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from boundgraph import ramp  # by its own name: tracing keeps it one operator
from zoo.errors import ZooError


class ClippedReLU(nn.Module):
    """min(max(x, 0), ceiling), with a ceiling to train for every neuron (ParamRamp, Lyu et al. 2021).

    On small networks it verifies more than the ReLU: a neuron that no perturbation moves may be 0 or at its ceiling.

    Args:
        shape: of one example at this place of the network, without the batch.
        ceiling: the first value of all ceilings, positive.

    Raises:
        ZooError: (a ValueError) the ceiling is not positive.
    """

    def __init__(self, shape: Sequence[int], ceiling: float = 1.0) -> None:
        super().__init__()
        if not ceiling > 0:
            raise ZooError(f"the ceiling of a clipped ReLU must be positive, not {ceiling}")
        self.ceiling = nn.Parameter(torch.full(tuple(shape), float(ceiling)))

    def forward(self, x: Tensor) -> Tensor:
        return ramp(x, self.ceiling)

    def extra_repr(self) -> str:
        return f"{tuple(self.ceiling.shape)}"


class Normalize(nn.Module):
    """(x - mean) / std for every channel of images (N, channels, height, width).

    As the first layer of a model it leaves eps in units of the pixels.

    Raises:
        ZooError: (a ValueError) there are not as many means as deviations, or a deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(deviation > 0 for deviation in std):
            raise ZooError(f"one positive deviation is needed per mean; there are {tuple(mean)} and {tuple(std)}")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"
