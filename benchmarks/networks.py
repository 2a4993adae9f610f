"""The networks that are timed. Weights and data follow from a seed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Network(NamedTuple):
    """build: the untrained module; shape: of one input; batch: examples of a train step; eps: l_inf radius."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    eps: float
    classes: int = 10


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1)
        )
        self.around = nn.Identity() if inputs == outputs and stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x) + self.around(x))


def mlp(activation: Callable[[], nn.Module]) -> nn.Module:
    hidden = nn.Linear(784, 256), activation(), nn.Linear(256, 256), activation()
    return nn.Sequential(*hidden, nn.Linear(256, 10))


def _classifier(convolutions: list[nn.Module], *widths: int) -> nn.Module:
    """Convolutions, then linear layers, with a ReLU after all but the last."""
    linear = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)]
    hidden = [layer for one in (*convolutions, nn.Flatten(), *linear) for layer in (one, nn.ReLU())]
    return nn.Sequential(*(layer for i, layer in enumerate(hidden[:-1]) if not isinstance(hidden[i - 1], nn.Flatten)))


def cnn_small() -> nn.Module:
    return _classifier([nn.Conv2d(1, 16, 4, 2, 1), nn.Conv2d(16, 32, 4, 2, 1)], 32 * 7 * 7, 100, 10)


def dm_medium() -> nn.Module:
    first = [nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 4, 2)]
    return _classifier([*first, nn.Conv2d(32, 64, 3), nn.Conv2d(64, 64, 4, 2)], 64 * 4 * 4, 512, 512, 10)


def cnn7_bn(width: int = 16) -> nn.Module:
    wide = 2 * width
    geometry = [(3, width, 1), (width, width, 1), (width, wide, 2), (wide, wide, 1), (wide, wide, 1)]
    layers: list[nn.Module] = []
    for inputs, outputs, stride in geometry:
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    dense = nn.Linear(wide * 16 * 16, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10)
    return nn.Sequential(*layers, nn.Flatten(), *dense)


def resnet() -> nn.Module:
    blocks = nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), Block(16, 32, 2), Block(32, 32, 1)
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(32 * 8 * 8, 100), nn.ReLU(), nn.Linear(100, 10))


def _grown(width: int, depth: int, size: int, classes: int) -> nn.Module:
    channels = [3, *[width] * depth]
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(channels)):
        layers.append(nn.Conv2d(inputs, outputs, 3, 2 if i < 2 else 1, 1))
    side = -(-size // 2 ** min(depth, 2))
    return _classifier(layers, width * side * side, classes)


NETWORKS = {
    "mlp": Network(lambda: mlp(nn.ReLU), (784,), 128, 0.02),
    "cnn_small": Network(cnn_small, (1, 28, 28), 128, 0.02),
    "dm_medium": Network(dm_medium, (1, 28, 28), 32, 0.02),
    "cnn7_bn": Network(cnn7_bn, (3, 32, 32), 32, 2 / 255),
    "resnet": Network(resnet, (3, 32, 32), 32, 2 / 255),
    "mlp_tanh": Network(lambda: mlp(nn.Tanh), (784,), 128, 0.02),
}


def network(name: str) -> Network:
    """A network by name; "grown:width=16,depth=4,size=32,classes=10" is a stack of convolutions of such a size.

    Raises:
        KeyError: an unknown name.
    """
    family, _, sizes = name.partition(":")
    if family != "grown":
        return NETWORKS[name]
    given = {key: int(value) for key, value in (pair.split("=") for pair in sizes.split(","))}
    shape = (3, given["size"], given["size"])
    return Network(lambda: _grown(**given), shape, 32, 2 / 255, given["classes"])


class Sample(NamedTuple):
    model: nn.Module
    x: Tensor  # (batch, *shape), in [0, 1]
    labels: Tensor  # (batch,)


def sample(name: str, batch: int, seed: int, *, training: bool) -> Sample:
    """The network with seeded weights, in train or eval mode, and as many seeded examples."""
    wanted = network(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = wanted.build().train(training)
        x, labels = torch.rand(batch, *wanted.shape), torch.randint(wanted.classes, (batch,))
    return Sample(model, x, labels)
