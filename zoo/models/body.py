"""Layers put on top of each other, so that an architecture reads as it is written in papers."""

import math
from dataclasses import dataclass, field
from typing import Self

from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.layers import ClippedReLU

ACTIVATIONS = ("relu", "ramp")
CLASSES = 10


class Residual(nn.Module):
    """branch(x) + shortcut(x)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)


@dataclass
class Body:
    """The layers so far, and the shape of one example after them.

    Each method adds a layer and returns the body: `body.conv(16, 4, 2, 1).flatten().linear(100).logits()`. BatchNorm,
    where asked for, and the activation follow every layer but the last.

    Raises:
        ZooError: (a ValueError) the activation is unknown.
    """

    shape: tuple[int, ...]  # (channels, height, width), or (features,) once flat
    activation: str = "relu"
    batch_norm: bool = False
    layers: list[nn.Module] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ZooError(f"unknown activation {self.activation!r}; there are: {', '.join(ACTIVATIONS)}")

    def conv(self, channels: int, kernel: int, stride: int = 1, padding: int = 0) -> Self:
        """A convolution with a square kernel."""
        return self._conv(channels, kernel, stride, padding)._activate()

    def residual(self, channels: int, stride: int = 1) -> Self:
        """Two 3x3 convolutions beside a shortcut, a 1x1 convolution where the shape changes (He et al. 2016)."""
        branch = self._branch().conv(channels, 3, stride, 1)._conv(channels, 3, 1, 1)
        shortcut = self._branch()
        if branch.shape != self.shape:
            shortcut._conv(channels, 1, stride, 0)
        self.layers.append(Residual(nn.Sequential(*branch.layers), nn.Sequential(*shortcut.layers)))
        self.shape = branch.shape
        return self._activate()

    def flatten(self) -> Self:
        """Images to vectors."""
        self.layers.append(nn.Flatten())
        self.shape = (math.prod(self.shape),)
        return self

    def linear(self, features: int) -> Self:
        """A hidden linear layer."""
        self.layers.append(nn.Linear(self.shape[0], features))
        self.shape = (features,)
        if self.batch_norm:
            self.layers.append(nn.BatchNorm1d(features))
        return self._activate()

    def logits(self) -> nn.Sequential:
        """The last linear layer, and with it the model."""
        return nn.Sequential(*self.layers, nn.Linear(self.shape[0], CLASSES))

    def _branch(self) -> "Body":
        return Body(self.shape, self.activation, self.batch_norm)

    def _conv(self, channels: int, kernel: int, stride: int, padding: int) -> Self:
        into, *size = self.shape
        self.layers.append(nn.Conv2d(into, channels, kernel, stride=stride, padding=padding))
        self.shape = (channels, *((length + 2 * padding - kernel) // stride + 1 for length in size))
        if self.batch_norm:
            self.layers.append(nn.BatchNorm2d(channels))
        return self

    def _activate(self) -> Self:
        self.layers.append(nn.ReLU() if self.activation == "relu" else ClippedReLU(self.shape))
        return self
