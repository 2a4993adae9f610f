"""Bounded modules under `torch.compile` and `DistributedDataParallel`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import boundgraph

METHODS = ("ibp", "crown-ibp", "crown")


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _gradients(module: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters())))


@pytest.mark.parametrize(
    ("name", "method"),
    [("residual-cnn", "ibp"), ("residual-cnn", "crown-ibp"), ("residual-cnn", "crown"), ("max-pool", "crown"),
     ("smooth", "crown")],
)  # fmt: skip
def test_full_graph(networks: ModuleType, name: str, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build(name), method), networks.inputs(name)
    compiled = torch.compile(bounded, fullgraph=True, backend="eager")
    spec = torch.randn(2, 4, 3, dtype=torch.double)
    found, expected = (f(x, eps=0.1, spec=spec, sides="lower").lower for f in (compiled, bounded))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    pairs = zip(_gradients(bounded, found.sum()), _gradients(bounded, expected.sum()), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_full_graph_in_both_modes_and_for_other_batches(networks: ModuleType, method: str) -> None:
    bounded = boundgraph.compile(networks.build("normalised"), method)
    compiled = torch.compile(bounded, fullgraph=True, backend="eager")
    for training in (True, False):
        bounded.train(training)
        for batch in (2, 5):
            x = torch.rand(batch, 3, dtype=torch.double)
            found, expected = (f(x, eps=torch.full((batch,), 0.1, dtype=torch.double)) for f in (compiled, bounded))
            torch.testing.assert_close(found[:2], expected[:2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_full_graph_of_balls(networks: ModuleType, method: str) -> None:
    """Plans for balls are not prepared by `compile`, so the first call builds one."""
    bounded, (x,) = boundgraph.compile(networks.build("conv"), method), networks.inputs("conv")
    expected = bounded(x, eps=0.3, norm=2, clip=(0.0, 1.0))
    found = torch.compile(bounded, fullgraph=True, backend="eager")(x, eps=0.3, norm=2, clip=(0.0, 1.0))
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_full_graph_without_a_call_before(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("conv"), method), networks.inputs("conv")
    found = torch.compile(bounded, fullgraph=True, backend="eager")(x, eps=0.3)
    torch.testing.assert_close(found[:2], bounded(x, eps=0.3)[:2], rtol=1e-10, atol=1e-10)


def test_bad_numbers_become_nan_where_they_cannot_be_looked_at(networks: ModuleType) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("five")), networks.inputs("five")
    compiled = torch.compile(bounded, fullgraph=True, backend="eager")
    bounds = compiled(x, eps=torch.tensor([0.1, -0.1], dtype=torch.double))
    assert bounds.lower[0].isfinite().all()
    assert bounds.lower[1].isnan().all()
    assert bounds.upper[1].isnan().all()


def test_margins_and_loss_compile_whole(networks: ModuleType) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("residual-cnn")), networks.inputs("residual-cnn")
    labels = torch.tensor([0, 2])

    def loss() -> torch.Tensor:
        return boundgraph.training.robust_cross_entropy(bounded.margins(x, labels, eps=0.1))

    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="eager")(), loss(), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_inductor(networks: ModuleType, method: str) -> None:
    model, (x,) = networks.build("residual-cnn"), networks.inputs("residual-cnn")
    plain, compiled = boundgraph.compile(model, method), boundgraph.compile(model, method, backend="inductor")
    found, expected = (f(x, eps=0.1, spec=torch.eye(3), sides="lower").lower for f in (compiled, plain))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    pairs = zip(_gradients(model, found.sum()), _gradients(model, expected.sum()), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
    assert torch.equal(compiled.intermediate_bounds(x, eps=0.1)["x"].lower, x - 0.1)


def test_backend_eager_is_the_default_and_backends_are_kept(networks: ModuleType) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("five"), backend="aot_eager"), networks.inputs("five")
    expected = boundgraph.compile(bounded.model)(x, eps=0.1)
    torch.testing.assert_close(bounded(x, eps=0.1)[:2], expected[:2], rtol=1e-12, atol=1e-12)
    assert "aot_eager" in bounded.__reduce__()[1]


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [False, True])
def test_distributed_data_parallel(networks: ModuleType, method: str, training: bool) -> None:
    alone, shared = (boundgraph.compile(networks.build("residual-cnn").train(training), method) for _ in range(2))
    (x,), parallel = networks.inputs("residual-cnn"), DistributedDataParallel(shared)
    labels = torch.tensor([1, 2])
    spec = boundgraph.margin_spec(labels, 3)
    losses = []
    for module in (alone, parallel):
        margins = module(x, eps=0.1, spec=spec, sides="lower").lower
        losses.append(boundgraph.training.robust_cross_entropy(margins))
        losses[-1].backward()
    assert math.isfinite(losses[0].item())
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
    for (name, one), other in zip(alone.named_parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.usefixtures("process_group")
def test_distributed_training_with_constants(networks: ModuleType) -> None:
    """Constants of the trace are buffers; they are broadcast like the model's own and do no harm."""
    model = networks.net(lambda self, x: self.fc2(self.fc1(x).relu() * torch.arange(1.0, 4.0)))
    model.bn.requires_grad_(False)
    model.scale.requires_grad_(False)
    bounded = boundgraph.compile(model)
    x = torch.rand(2, 3, dtype=torch.double)
    expected = bounded(x, eps=0.1).lower
    torch.testing.assert_close(DistributedDataParallel(bounded)(x, eps=0.1).lower, expected)
