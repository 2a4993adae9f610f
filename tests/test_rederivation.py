"""IBP, CROWN-IBP and CROWN once more, from the papers' formulas, in dense numpy; nothing of boundgraph's code is used.

A network is a list of matrices and biases with a ReLU between any two. With z = W h + b and h in [l, u]:

    IBP:    z in W (l + u) / 2 + b -+ |W| (u - l) / 2,   relu(z) in [max(l, 0), max(u, 0)]
    CROWN:  for l < 0 < u the ReLU lies between a z (a in [0, 1] chosen) and u (z - l) / (u - l); a row A relu(z) is at
            least A+ (lower line) + A- (upper line), and so on down to the input, where A x >= A x0 - eps ||A||_1.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import boundgraph

Layers = list[tuple[np.ndarray, np.ndarray]]


class Ball(NamedTuple):
    center: np.ndarray
    eps: float
    norm: float  # inf or 2


def interval(weight: np.ndarray, bias: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle, half = weight @ (low + high) / 2 + bias, np.abs(weight) @ (high - low) / 2
    return middle - half, middle + half


def reach(rows: np.ndarray, ball: Ball) -> np.ndarray:
    """max over the ball of rows (x - center): the dual norm of each row times eps."""
    return ball.eps * (np.abs(rows).sum(1) if ball.norm == np.inf else np.sqrt((rows**2).sum(1)))


def lines(low: float, high: float, slope: str) -> tuple[float, float, float]:
    """Slope below, slope above, intercept above, around the ReLU on [low, high]; the line below passes through 0."""
    if high <= 0:
        return 0.0, 0.0, 0.0
    if low >= 0:
        return 1.0, 1.0, 0.0
    chord = high / (high - low)
    below = {"adaptive": float(high > -low), "zero": 0.0, "one": 1.0, "same": chord}[slope]
    return below, chord, -chord * low


def lowest(rows: np.ndarray, constant: np.ndarray, layers: Layers, pre: list, ball: Ball, slope: str) -> np.ndarray:
    """Lower bounds of rows h + constant, where h is the output of the last ReLU above `layers`."""
    for (weight, bias), (low, high) in zip(reversed(layers), reversed(pre), strict=True):
        around = np.array([lines(l, u, slope) for l, u in zip(low, high, strict=True)])
        positive, negative = np.maximum(rows, 0), np.minimum(rows, 0)
        constant = constant + negative @ around[:, 2]
        rows = positive * around[:, 0] + negative * around[:, 1]
        constant, rows = constant + rows @ bias, rows @ weight
    return rows @ ball.center + constant - reach(rows, ball)


def walked(weight: np.ndarray, bias: np.ndarray, layers: Layers, pre: list, ball: Ball, slope: str) -> tuple:
    """Both sides of weight h + bias by walks to the input."""
    return (
        lowest(weight, bias, layers, pre, ball, slope),
        -lowest(-weight, -bias, layers, pre, ball, slope),
    )


def pre_activations(layers: Layers, ball: Ball, tighten: bool, slope: str) -> tuple[list, np.ndarray, np.ndarray]:
    """Bounds before every ReLU, and of the last ReLU's output. The first layer is linear in the ball, hence exact."""
    low, high = ball.center - ball.eps, ball.center + ball.eps
    pre: list[tuple[np.ndarray, np.ndarray]] = []
    for k, (weight, bias) in enumerate(layers):
        below, above = interval(weight, bias, low, high)
        if k == 0:
            middle, size = weight @ ball.center + bias, reach(weight, ball)
            below, above = np.maximum(below, middle - size), np.minimum(above, middle + size)
        elif tighten:
            found = walked(weight, bias, layers[:k], pre, ball, slope)
            unstable = (below < 0) & (above > 0)
            below, above = (
                np.where(unstable, np.maximum(below, found[0]), below),
                np.where(unstable, np.minimum(above, found[1]), above),
            )
        pre.append((below, above))
        low, high = np.maximum(below, 0), np.maximum(above, 0)
    return pre, low, high


def bounds(layers: Layers, ball: Ball, method: str, slope: str, spec: np.ndarray | None) -> tuple:
    """(lower, upper) of the output or of spec @ output, the specification multiplied into the last layer."""
    (weight, bias), hidden = layers[-1], layers[:-1]
    if spec is not None:
        weight, bias = spec @ weight, spec @ bias
    pre, low, high = pre_activations(hidden, ball, method == "crown", slope)
    if method == "ibp":
        return interval(weight, bias, low, high)
    return walked(weight, bias, hidden, pre, ball, slope)


def convolution(layer: nn.Conv2d, height: int, width: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """A convolution as a matrix on flattened images, entry by entry."""
    kernel = layer.weight.detach().numpy()
    outputs, inputs, rows, columns = kernel.shape
    stride, pad = layer.stride[0], layer.padding[0]
    out_h, out_w = (height + 2 * pad - rows) // stride + 1, (width + 2 * pad - columns) // stride + 1
    matrix = np.zeros((outputs, out_h, out_w, inputs, height, width))
    for i, j in np.ndindex(out_h, out_w):
        for a, b in np.ndindex(rows, columns):
            y, x = i * stride + a - pad, j * stride + b - pad
            if 0 <= y < height and 0 <= x < width:
                matrix[:, i, j, :, y, x] += kernel[:, :, a, b]
    bias = np.repeat(layer.bias.detach().numpy(), out_h * out_w)
    return matrix.reshape(outputs * out_h * out_w, -1), bias, out_h, out_w


def dense(model: nn.Module, shape: tuple[int, ...]) -> Layers:
    layers: Layers = []
    size = shape[1:]
    for layer in model.children():
        if isinstance(layer, nn.Conv2d):
            weight, bias, *size = convolution(layer, *size)
            layers.append((weight, bias))
        else:
            layers.append((layer.weight.detach().numpy(), layer.bias.detach().numpy()))
    return layers


class FourLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, 12), nn.Linear(12, 10)
        self.fc3, self.fc4 = nn.Linear(10, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc4(torch.relu(self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))))


def _model(networks: ModuleType, name: str) -> tuple[nn.Module, tuple[int, ...]]:
    if name == "four layers":
        torch.manual_seed(3)
        model = FourLayers().double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.7)  # so that neurons of every kind occur
        return model, (5,)
    return networks.build(name), networks.NETWORKS[name].shapes[0]


METHODS = [("ibp", "adaptive"), *((m, s) for m in ("crown-ibp", "crown") for s in ("adaptive", "zero", "one", "same"))]


@pytest.mark.parametrize(("method", "slope"), METHODS)
@pytest.mark.parametrize("name", ["deep", "four layers", "conv"])
@pytest.mark.parametrize("norm", [np.inf, 2.0])
def test_same_bounds(networks: ModuleType, name: str, method: str, slope: str, norm: float) -> None:
    model, shape = _model(networks, name)
    layers = dense(model, shape)
    options = {} if method == "ibp" else {"slope": slope}
    bounded = boundgraph.compile(model, boundgraph.method(method, **options))
    x = torch.rand(3, *shape, dtype=torch.double, generator=torch.Generator().manual_seed(5))
    spec = torch.randn(3, 4, 3, dtype=torch.double, generator=torch.Generator().manual_seed(6))
    for eps in (0.0, 0.03, 0.25, 1.0):
        for rows in (None, spec):
            found = bounded(x, eps=eps, norm=norm, spec=rows)
            for i, example in enumerate(x):
                ball = Ball(example.numpy().ravel(), eps, norm)
                lower, upper = bounds(layers, ball, method, slope, None if rows is None else rows[i].numpy())
                np.testing.assert_allclose(found.lower[i].detach().numpy(), lower, rtol=0, atol=1e-9)
                np.testing.assert_allclose(found.upper[i].detach().numpy(), upper, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", [np.inf, 2.0])
@pytest.mark.parametrize("name", ["deep", "four layers", "conv"])
def test_same_pre_activations(networks: ModuleType, name: str, norm: float) -> None:
    """And before every ReLU, where CROWN's tightening happens."""
    model, shape = _model(networks, name)
    layers, bounded = dense(model, shape), boundgraph.compile(model, "crown")
    x = torch.rand(1, *shape, dtype=torch.double, generator=torch.Generator().manual_seed(7))
    found = bounded.intermediate_bounds(x, eps=0.25, norm=norm)
    pre, _, _ = pre_activations(layers[:-1], Ball(x.numpy().ravel(), 0.25, norm), True, "adaptive")
    names = [name for name, _ in model.named_children()][:-1]
    for layer, (lower, upper) in zip(names, pre, strict=True):
        np.testing.assert_allclose(found[layer].lower.detach().numpy().ravel(), lower, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found[layer].upper.detach().numpy().ravel(), upper, rtol=0, atol=1e-9)


def test_the_networks_have_neurons_of_every_kind(networks: ModuleType) -> None:
    """Otherwise the comparison would leave something out."""
    model, shape = _model(networks, "four layers")
    x = torch.rand(5, generator=torch.Generator().manual_seed(5), dtype=torch.double)
    pre, _, _ = pre_activations(dense(model, shape)[:-1], Ball(x.numpy(), 0.25, np.inf), True, "adaptive")
    low, high = (np.concatenate([layer[side] for layer in pre]) for side in (0, 1))
    unstable = (low < 0) & (high > 0)
    assert (high <= 0).any()
    assert (low >= 0).any()
    assert (unstable & (high > -low)).any()
    assert (unstable & (high < -low)).any()
