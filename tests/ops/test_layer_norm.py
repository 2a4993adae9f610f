"""Normalisation layers and functions: how they are written out, and networks with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import boundgraph
from boundgraph.ops.normalize import NORMALIZE
from boundgraph.testing import Perturbed, check_operator, check_sound

aten = torch.ops.aten


class Affine(nn.Module):
    """A layer whose weights are not those it begins with."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        for parameter in layer.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Functional(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


LAYERS = [
    nn.LayerNorm(4),
    nn.LayerNorm((2, 4), eps=0.1),
    nn.LayerNorm((4, 2, 4)[1:], elementwise_affine=False),
    nn.LayerNorm(4, bias=False),
    nn.RMSNorm(4),
    nn.RMSNorm((2, 4), eps=0.1, elementwise_affine=False),
    nn.GroupNorm(2, 4),
    nn.GroupNorm(4, 4, affine=False),
    nn.GroupNorm(1, 4, eps=0.1),
    nn.InstanceNorm2d(4),
    nn.InstanceNorm2d(4, affine=True),
]
FUNCTIONS = [
    lambda x: F.layer_norm(x, [4], eps=0.1),
    lambda x: torch.layer_norm(x, (2, 4)),
    lambda x: F.rms_norm(x, (4,)),
    lambda x: torch.rms_norm(x, (2, 4), eps=0.5),
    lambda x: F.group_norm(x, 2),
    lambda x: torch.group_norm(x, 2, eps=0.2),
    lambda x: F.instance_norm(x),
    lambda x: torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
    lambda x: F.normalize(x, dim=(1, 3)),
]


def test_spellings() -> None:
    """Layers are exported too."""
    case = (Perturbed(2, 4, 2, 4), (-1,), "deviation", 1e-5)
    check_operator(NORMALIZE, cases=[case], calls=[*map(Affine, LAYERS), *FUNCTIONS])


@pytest.mark.parametrize("layer", [*map(Affine, LAYERS), *map(Functional, FUNCTIONS)], ids=repr)
def test_alone(tensor, layer: nn.Module) -> None:
    check_sound(layer, boundgraph.LpBall(tensor(2, 4, 2, 4), 0.1), method="crown")


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.InstanceNorm1d(3, affine=True), (2, 3, 4)), (nn.InstanceNorm3d(2), (2, 2, 2, 1, 3))]
)
def test_instance_norm_of_other_dimensions(tensor, layer: nn.Module, shape: tuple[int, ...]) -> None:
    check_sound(Affine(layer), boundgraph.LpBall(tensor(*shape), 0.1), method="crown")


def test_instance_norm_with_running_statistics(tensor) -> None:
    """In eval mode it is affine."""
    layer = nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
    layer(tensor(5, 3, 2, 2).float())
    layer.eval()
    found = check_sound(Affine(layer), boundgraph.LpBall(tensor(2, 3, 2, 2), 0.1), method="crown")
    assert abs(found.width - 0.2 * (layer.weight.abs() * layer.running_var.add(1e-5).rsqrt()).mean()) < 1e-6


class Tokens(nn.Module):
    """Linear, normalisation, ReLU, linear."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(5, 8), norm, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.RMSNorm(8), nn.GroupNorm(2, 8)], ids=repr)
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("eps", [0.02, 0.5])
def test_in_a_network(tensor, method: str, norm: nn.Module, eps: float) -> None:
    check_sound(Tokens(norm), boundgraph.LpBall(tensor(3, 5), eps), method=method)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_over_tokens(tensor, method: str) -> None:
    check_sound(Tokens(nn.LayerNorm(8)), boundgraph.LpBall(tensor(2, 3, 5), 0.1), method=method)


def test_in_float32(tensor) -> None:
    """The bounds of a value far from 0 hold what the layer computes."""
    model = nn.LayerNorm(6)
    x = (100 + tensor(20, 6)).float()
    bounds = boundgraph.compile(model, "ibp")(x, eps=0.5)
    assert (bounds.lower <= model(x)).all()
    assert (bounds.upper >= model(x)).all()
