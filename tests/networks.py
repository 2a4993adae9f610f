"""Small networks, each with one idea in it, and the shapes of their inputs. Reached by the fixture `networks`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph

METHODS = ("ibp", "crown-ibp", "crown")


class FiveNodes(nn.Module):
    """Input, layer, ReLU, layer, output."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)))


class Deep(nn.Module):
    """Three layers: the second pre-activation is where CROWN improves on IBP."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 6)
        self.fc2 = nn.Linear(6, 5)
        self.fc3 = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class Residual(nn.Module):
    """One value with two readers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.fc2 = nn.Linear(4, 4)
        self.fc3 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.fc1(x))
        return self.fc3(torch.relu(h + self.fc2(h)))


class SharedLayer(nn.Module):
    """One layer applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.fc(x)))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 4)
        self.right = nn.Linear(2, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.out(torch.relu(self.left(x) + self.right(y)))


class Normalised(nn.Module):
    """BatchNorm between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.bn = nn.BatchNorm1d(4)
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.bn(self.fc1(x))))


class ConvNet(nn.Module):
    """A CNN whose linear layer reads a flattened image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.fc(x.flatten(1))


class AnySize(nn.Module):
    """A CNN for images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(x.mean((2, 3)))


class ResidualCNN(nn.Module):
    """Convolutions, BatchNorm and a strided shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.shortcut = nn.Conv2d(4, 6, 1, stride=2)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.stem(x)))
        x = F.relu(self.bn2(self.conv(x)) + self.shortcut(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class MaxPooled(nn.Module):
    """Max-pooling with overlap and padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fc = nn.Linear(27, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.conv(x)).flatten(1))


class Smooth(nn.Module):
    """Sigmoid and tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 5)
        self.fc2 = nn.Linear(5, 5)
        self.fc3 = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(torch.tanh(self.fc2(torch.sigmoid(self.fc1(x)))))


class Network(NamedTuple):
    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]  # of one example, per input


NETWORKS: dict[str, Network] = {
    "five": Network(FiveNodes, ((3,),)),
    "deep": Network(Deep, ((3,),)),
    "residual": Network(Residual, ((3,),)),
    "shared": Network(SharedLayer, ((3,),)),
    "two-inputs": Network(TwoInputs, ((3,), (2,))),
    "normalised": Network(Normalised, ((3,),)),
    "conv": Network(ConvNet, ((1, 8, 8),)),
    "any-size": Network(AnySize, ((1, 8, 8),)),
    "residual-cnn": Network(ResidualCNN, ((1, 6, 6),)),
    "max-pool": Network(MaxPooled, ((1, 8, 8),)),
    "smooth": Network(Smooth, ((3,),)),
}


def build(name: str, seed: int = 0, dtype: torch.dtype = torch.double) -> nn.Module:
    """The network in eval mode, with weights large enough for bounds to matter and statistics that are not 0 and 1."""
    torch.manual_seed(seed)
    model = NETWORKS[name].build()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.to(dtype).eval()


def inputs(name: str, batch: int = 2, seed: int = 1, dtype: torch.dtype = torch.double) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(batch, *shape, generator=generator, dtype=dtype) for shape in NETWORKS[name].shapes)


class _Parts(nn.Module):
    """Layers for `net`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 3)
        self.fc2 = nn.Linear(3, 3)
        self.bn = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)
        self.act = nn.ReLU()
        self.flat = nn.Flatten()
        self.scale = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
        self.register_buffer("offset", torch.tensor([1.0, 2.0, 3.0]))


def net(body: Callable[[Any, Tensor], Any], name: str = "Net", dtype: torch.dtype = torch.double) -> nn.Module:
    """A module with forward(x) = body(self, x), layers fc1, fc2, bn, drop, act, parameter scale and buffer offset."""

    class Net(_Parts):
        def forward(self, x: Tensor) -> Any:
            return body(self, x)

    Net.__name__ = name
    return Net().to(dtype).eval()


def assert_exact(bounded: Any, *values: Tensor, atol: float = 1e-12) -> None:
    """The captured graph computes the model, and the bounds on a point are the model's output."""
    with torch.no_grad():
        expected = bounded.model(*(value.clone() for value in values))
        torch.testing.assert_close(bounded.primal(*(value.clone() for value in values)), expected, rtol=0, atol=atol)
        points = [boundgraph.LpBall(values[0].clone(), 0.0), *(value.clone() for value in values[1:])]
        bounds = bounded(*points)
        torch.testing.assert_close(bounds.lower, expected, rtol=0, atol=atol)
        torch.testing.assert_close(bounds.upper, expected, rtol=0, atol=atol)


def assert_captured(model: nn.Module, *values: Tensor, **options: Any) -> None:
    """`assert_exact` by every method."""
    for method in METHODS:
        assert_exact(boundgraph.compile(model, method, **options), *values)
