"""Accelerators without an accelerator: fake tensors run the graphs for their shapes and devices only.

What stalls an accelerator or mixes devices (a look at numbers, a tensor made on the CPU) fails here. A build of torch
without CUDA cannot differentiate fake "cuda" tensors: autograd wants a device guard and ends the process. So the fake
device here is torch's "privateuseone", for which a guard can be registered from Python; rules cannot tell the difference.
The meta device has a guard of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import boundgraph
from boundgraph.methods import Pipeline

METHODS = ("ibp", "crown-ibp", "crown")
BF16 = boundgraph.method("crown-ibp", precision="bf16")
ACCELERATOR = "fakegpu"
DEVICES = (ACCELERATOR, "meta")
NAMES = ("conv", "residual-cnn", "residual-cnn, train", "max-pool", "smooth", "shared", "constants", "any-size")


if torch._C._get_privateuse1_backend_name() != ACCELERATOR:  # tests/conftest.py registers it where torch can
    pytest.skip("this torch cannot register an accelerator from Python", allow_module_level=True)


class Constants(nn.Module):
    """Constants of the trace must move with the module."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)) * torch.arange(1.0, 5.0))


def _build(networks: ModuleType, name: str, method: str | Pipeline) -> tuple[boundgraph.BoundedModule, tuple[int, ...]]:
    if name == "constants":
        return boundgraph.compile(Constants().eval(), method), (3,)
    base = name.removesuffix(", train")
    model = networks.build(base, dtype=torch.float).train(name.endswith("train"))
    return boundgraph.compile(model, method), networks.NETWORKS[base].shapes[0]


def _mode(device: str) -> Any:
    return FakeTensorMode() if device == ACCELERATOR else nullcontext()


def _empty(tensor: Tensor, device: str) -> Tensor:
    return torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device=device)


def _move(module: nn.Module, device: str) -> nn.Module:
    """Every parameter and buffer as an empty one on `device`."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                part._parameters[name] = nn.Parameter(_empty(parameter, device))
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = _empty(buffer, device)
    return module


REQUESTS: dict[str, Callable[[Tensor], dict[str, Any]]] = {
    "eps": lambda x: {"eps": 0.1},
    "eps per example": lambda x: {"eps": torch.empty(x.shape[0], device=x.device)},
    "l2 ball, clipped": lambda x: {"eps": 0.1, "norm": 2, "clip": (0.0, 1.0)},
    "l2 ball, clipped, eps per example": lambda x: {
        "eps": torch.empty(x.shape[0], device=x.device), "norm": 2.0, "clip": (0.0, 1.0)},
    "l1 ball": lambda x: {"eps": 0.1, "norm": 1},
    "clip of tensors": lambda x: {"eps": 0.1, "clip": (torch.zeros_like(x), torch.ones_like(x))},
}  # fmt: skip


def _check(networks: ModuleType, name: str, method: str | Pipeline, kind: str, device: str) -> None:
    bounded, shape = _build(networks, name, method)
    with _mode(device):
        _move(bounded, device)
        x = torch.empty(4, *shape, device=device)
        options = REQUESTS[kind](x)
        bounds = bounded(x, **options, spec=torch.empty(4, 2, 3, device=device), sides="lower")
        assert bounds.lower.shape == (4, 2)
        assert bounds.upper is None
        assert bounds.lower.device.type == bounds.interval.lower.device.type == device
        bounds.lower.sum().backward()
        for weight, parameter in bounded.named_parameters():
            assert parameter.grad is not None, weight
            assert parameter.grad.device.type == device
        both = bounded(x, **options)
        assert both.lower.shape == both.upper.shape == (4, 3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_every_network(networks: ModuleType, name: str, method: str, device: str) -> None:
    _check(networks, name, method, "eps", device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if kind != "eps"])
def test_every_region(networks: ModuleType, kind: str, method: str, device: str) -> None:
    _check(networks, "conv", method, kind, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_coefficients_in_bfloat16(networks: ModuleType, name: str, device: str) -> None:
    _check(networks, name, BF16, "eps", device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
def test_margins_and_intermediate_bounds(networks: ModuleType, method: str, device: str) -> None:
    bounded, shape = _build(networks, "residual-cnn", method)
    with _mode(device):
        _move(bounded, device)
        x = torch.empty(4, *shape, device=device)
        margins = bounded.margins(x, torch.zeros(4, dtype=torch.long, device=device), eps=0.1)
        assert margins.shape == (4, 2)
        assert margins.device.type == device
        intervals = bounded.intermediate_bounds(x, eps=0.1)
        assert {interval.lower.device.type for interval in intervals.values()} == {device}


@pytest.mark.parametrize("method", METHODS)
def test_radii_may_be_on_the_cpu(networks: ModuleType, method: str) -> None:
    bounded, shape = _build(networks, "conv", method)
    with FakeTensorMode():
        _move(bounded, ACCELERATOR)
        x = torch.empty(4, *shape, device=ACCELERATOR)
        assert bounded(x, eps=torch.empty(4)).lower.device.type == ACCELERATOR


def test_siblings_move_too(networks: ModuleType) -> None:
    bounded, shape = _build(networks, "constants", "ibp")
    sibling = bounded.using("crown")
    bounded.to("meta")
    assert sibling(torch.empty(4, *shape, device="meta"), eps=0.1).lower.device.type == "meta"


def test_compiling_a_model_that_is_on_a_device_already() -> None:
    model = Constants().to("meta").eval()
    bounds = boundgraph.compile(model, "crown").to("meta")(torch.empty(4, 3, device="meta"), eps=0.1)
    assert bounds.lower.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("method", METHODS)
def test_real_accelerators_agree_with_the_cpu(networks: ModuleType, method: str) -> None:
    for name in networks.NETWORKS:
        model, inputs = networks.build(name), networks.inputs(name)
        bounded = boundgraph.compile(model, method)
        expected = bounded(boundgraph.LpBall(inputs[0], 0.1), *inputs[1:])
        bounded.cuda()
        moved = [value.cuda() for value in inputs]
        found = bounded(boundgraph.LpBall(moved[0], 0.1), *moved[1:])
        torch.testing.assert_close(found.lower.cpu(), expected.lower, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(found.upper.cpu(), expected.upper, rtol=1e-8, atol=1e-8)
