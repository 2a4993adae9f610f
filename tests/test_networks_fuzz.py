"""Random architectures from the supported operators: capture, exactness at a point, and soundness by every method."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import boundgraph

WIDTH, CHANNELS, SIZE = 4, 2, 4

FLAT: dict[str, Callable[..., Tensor]] = {
    "linear": lambda net, i, x, y: net.layers[i](x),
    "relu": lambda net, i, x, y: torch.relu(x),
    "leaky relu": lambda net, i, x, y: F.leaky_relu(x, 0.2),
    "sigmoid": lambda net, i, x, y: x.sigmoid(),
    "tanh": lambda net, i, x, y: torch.tanh(x),
    "batch norm": lambda net, i, x, y: net.norms[i](x),
    "add": lambda net, i, x, y: x + y,
    "subtract": lambda net, i, x, y: x - 0.5 * y,
    "negate": lambda net, i, x, y: -x,
    "scale": lambda net, i, x, y: x * net.scales[i] / 2,
    "reverse": lambda net, i, x, y: 1 - x,
    "concatenate": lambda net, i, x, y: net.wide[i](torch.cat((x, y), dim=1)),
    "matrix product": lambda net, i, x, y: x @ net.layers[i].weight,
    "there and back": lambda net, i, x, y: x.unsqueeze(2).transpose(1, 2).reshape(x.shape[0], -1),
    "centred": lambda net, i, x, y: x - x.mean(1, keepdim=True),
    "in place": lambda net, i, x, y: (x * 1).relu_(),
}

IMAGE: dict[str, Callable[..., Tensor]] = {
    "convolution": lambda net, i, x, y: net.convs[i](x),
    "grouped, dilated": lambda net, i, x, y: net.dilated[i](x),
    "relu": lambda net, i, x, y: F.relu(x),
    "tanh": lambda net, i, x, y: x.tanh(),
    "batch norm": lambda net, i, x, y: net.norms2d[i](x),
    "max-pool": lambda net, i, x, y: F.max_pool2d(x, 3, stride=1, padding=1),
    "average": lambda net, i, x, y: F.avg_pool2d(x, 3, stride=1, padding=1),
    "add": lambda net, i, x, y: torch.add(x, y, alpha=-0.5),
    "concatenate": lambda net, i, x, y: net.mixing[i](torch.cat([x, y], 1)),
    "permute": lambda net, i, x, y: x.permute(0, 1, 3, 2),
    "squeeze and excite": lambda net, i, x, y: x + x.mean((2, 3), keepdim=True),
}


class Random(nn.Module):
    """Runs a program: each step (operator, operands) appends a value; the last values are mixed into three outputs."""

    def __init__(self, image: bool, program: list[tuple[str, int, int]], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.image, self.program = image, program
        steps = range(len(program))
        if image:
            self.convs = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in steps)
            self.dilated = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=2, dilation=2, groups=2) for _ in steps)
            self.mixing = nn.ModuleList(nn.Conv2d(2 * CHANNELS, CHANNELS, 1) for _ in steps)
            self.norms2d = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in steps)
        else:
            self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in steps)
            self.wide = nn.ModuleList(nn.Linear(2 * WIDTH, WIDTH) for _ in steps)
            self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in steps)
            self.scales = nn.ParameterList(nn.Parameter(torch.randn(WIDTH)) for _ in steps)
        self.last = nn.Linear(CHANNELS * SIZE * SIZE if image else WIDTH, 3)
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        table: dict[str, Any] = IMAGE if self.image else FLAT
        values = [x]
        for step, (name, first, second) in enumerate(self.program):
            values.append(table[name](self, step, values[-1 - first % len(values)], values[-1 - second % len(values)]))
        return self.last(values[-1].flatten(1))


@st.composite
def architectures(draw: st.DrawFn) -> Random:
    image = draw(st.booleans())
    step = st.tuples(st.sampled_from(sorted(IMAGE if image else FLAT)), st.integers(0, 2), st.integers(0, 3))
    return Random(image, draw(st.lists(step, min_size=1, max_size=7)), draw(st.integers(0, 10_000))).double().eval()


def check(networks: ModuleType, model: Random, eps: float, norm: float) -> None:
    shape = (CHANNELS, SIZE, SIZE) if model.image else (WIDTH,)
    x = torch.randn(2, *shape, dtype=torch.double)
    moves = torch.randn(1000, *x.shape, dtype=torch.double)
    size = moves.abs().flatten(2).amax(2) if norm == torch.inf else moves.flatten(2).norm(dim=2)
    points = x + eps * moves / size.view(1000, 2, *[1] * len(shape))
    with torch.no_grad():
        outputs = model(points.flatten(0, 1)).unflatten(0, (1000, 2))
        scale = 1 + outputs.abs().max().item()
        ibp = None
        for method in networks.METHODS:
            bounded = boundgraph.compile(model, method)
            networks.assert_exact(bounded, x, atol=1e-10 * scale)
            bounds = bounded(x, eps=eps, norm=norm)
            assert (bounds.lower <= outputs + 1e-10 * scale).all()
            assert (bounds.upper >= outputs - 1e-10 * scale).all()
            ibp = bounds if ibp is None else ibp
            assert (bounds.interval.lower >= ibp.interval.lower - 1e-9 * scale).all()


RADII = st.sampled_from([1e-3, 0.1, 1.0])
NORMS = st.sampled_from([torch.inf, 2.0])
OPTIONS = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=12, **OPTIONS)
@given(model=architectures(), eps=RADII, norm=NORMS)
def test_random_architectures(networks: ModuleType, model: Random, eps: float, norm: float) -> None:
    check(networks, model, eps, norm)


@pytest.mark.slow
@settings(max_examples=300, **OPTIONS)
@given(model=architectures(), eps=RADII, norm=NORMS)
def test_more_random_architectures(networks: ModuleType, model: Random, eps: float, norm: float) -> None:
    check(networks, model, eps, norm)
