"""A bounded module is an ordinary `nn.Module` round the caller's own model."""

from __future__ import annotations

import copy
import math
import pickle
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import boundgraph

METHODS = ("ibp", "crown-ibp", "crown")


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def _same(first: boundgraph.Bounds, second: boundgraph.Bounds) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first[:2], second[:2], strict=True) if a is not None)


def test_it_holds_the_model_itself(networks: ModuleType, method: str) -> None:
    model = networks.build("residual-cnn")
    bounded = boundgraph.compile(model, method)
    assert bounded.model is model
    assert [id(p) for p in bounded.parameters()] == [id(p) for p in model.parameters()]
    assert {name.removeprefix("model.") for name in bounded.state_dict()} == set(model.state_dict())
    assert sum(1 for _ in bounded.modules()) == sum(1 for _ in model.modules()) + 2


def test_an_optimizer_of_either_trains_both(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("conv"), method), networks.inputs("conv")
    optimizer = torch.optim.SGD(bounded.parameters(), lr=0.1)
    before = bounded.model.conv1.weight.clone()
    bounded(x, eps=0.1).lower.sum().neg().backward()
    optimizer.step()
    assert not torch.equal(bounded.model.conv1.weight, before)
    networks.assert_exact(bounded, x)


def test_state_dict_round_trip(networks: ModuleType, method: str) -> None:
    first, second = (boundgraph.compile(networks.build("residual-cnn", seed), method) for seed in (1, 2))
    (x,) = networks.inputs("residual-cnn")
    assert not _same(first(x, eps=0.1), second(x, eps=0.1))
    second.load_state_dict(first.state_dict())
    assert _same(first(x, eps=0.1), second(x, eps=0.1))


def test_copies_are_independent(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("residual-cnn"), method), networks.inputs("residual-cnn")
    before = bounded(x, eps=0.1)
    for again in (copy.deepcopy(bounded), pickle.loads(pickle.dumps(bounded))):
        assert _same(again(x, eps=0.1), before)
        assert not {id(p) for p in again.parameters()} & {id(p) for p in bounded.parameters()}
        with torch.no_grad():
            next(again.parameters()).add_(1.0)
        assert not _same(again(x, eps=0.1), before)
        assert again.method == method
    assert _same(bounded(x, eps=0.1), before)


def test_copies_keep_modes_and_gradients_flags(networks: ModuleType) -> None:
    bounded = boundgraph.compile(networks.build("residual-cnn").train())
    bounded.eval()
    bounded.model.bn1.train()
    bounded.model.stem.requires_grad_(False)
    for again in (copy.deepcopy(bounded), pickle.loads(pickle.dumps(bounded))):
        assert again.training is False
        assert [m.training for m in again.model.modules()] == [m.training for m in bounded.model.modules()]
        assert not again.model.stem.weight.requires_grad


def test_own_pipelines_can_be_pickled(networks: ModuleType) -> None:
    bounded = boundgraph.compile(networks.build("five"), boundgraph.method("crown", slope="zero"))
    (x,) = networks.inputs("five")
    assert _same(pickle.loads(pickle.dumps(bounded))(x, eps=0.1), bounded(x, eps=0.1))


class WithConstant(nn.Module):
    """A constant between two layers, so that its dtype matters."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)) * torch.arange(1.0, 5.0))


@pytest.mark.parametrize("dtype", [torch.double, torch.bfloat16, torch.half])
def test_conversion(method: str, dtype: torch.dtype) -> None:
    bounded = boundgraph.compile(WithConstant(), method)
    x = torch.rand(5, 3)
    bounded(x, eps=0.1)
    bounded.to(dtype)
    bounds = bounded(x.to(dtype), eps=0.0)
    assert bounds.lower.dtype is bounds.upper.dtype is dtype
    atol = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(bounds.lower, bounded.model.fc2(_hidden(bounded.model, x, dtype)), rtol=0, atol=atol)


def _hidden(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.relu(model.fc1(x.to(dtype))) * torch.arange(1.0, 5.0).to(dtype)


@pytest.mark.parametrize("dtype", [torch.double, torch.half])
def test_conversion_reaches_modules_by_other_methods(dtype: torch.dtype) -> None:
    """`using` gives a sibling of the same model; constants of the trace must follow the model there too."""
    bounded = boundgraph.compile(WithConstant())
    sibling = bounded.using("crown")
    bounded.to(dtype)
    assert sibling(torch.rand(5, 3, dtype=dtype), eps=0.1).lower.dtype is dtype


def test_converting_the_model_itself(method: str) -> None:
    """bounded.model.double() instead of bounded.double(): float32 constants promote, in the model and in its bounds."""
    bounded = boundgraph.compile(WithConstant(), method)
    bounded.model.double()
    x = torch.rand(5, 3, dtype=torch.double)
    assert bounded(x, eps=0.1).lower.dtype is bounded.model(x).dtype is torch.double


def test_one_compile_serves_all_sizes(networks: ModuleType, method: str) -> None:
    bounded = boundgraph.compile(networks.build("any-size"), method)
    for batch, height, width in ((1, 8, 8), (257, 4, 4), (3, 6, 10), (2, 7, 5)):
        x = torch.rand(batch, 1, height, width, dtype=torch.double)
        networks.assert_exact(bounded, x)
        one_by_one = torch.cat([bounded(x[i : i + 1], eps=0.1).lower for i in range(min(batch, 3))])
        torch.testing.assert_close(bounded(x, eps=0.1).lower[:3], one_by_one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_bounds_are_pure(networks: ModuleType, method: str, training: bool) -> None:
    """Twice the same call, bit by bit the same bounds; another call in between leaves no trace."""
    bounded = boundgraph.compile(networks.build("residual-cnn").train(training), method)
    (x,), state = networks.inputs("residual-cnn"), copy.deepcopy(bounded.state_dict())
    first = bounded(x, eps=0.1)
    bounded(1 - x, eps=0.3, sides="lower")
    second = bounded(x, eps=0.1)
    assert _same(first, second)
    assert all(torch.equal(state[name], tensor) for name, tensor in bounded.state_dict().items())


def test_eps_zero_is_the_output(networks: ModuleType) -> None:
    for name in networks.NETWORKS:
        networks.assert_captured(networks.build(name), *networks.inputs(name))


def test_eps_per_example(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("conv"), method), networks.inputs("conv", batch=3)
    radii = [0.0, 0.05, 0.3]
    found = bounded(x, eps=torch.tensor(radii, dtype=torch.double))
    for i, eps in enumerate(radii):
        alone = bounded(x[i : i + 1], eps=eps)
        torch.testing.assert_close(found.lower[i : i + 1], alone.lower, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.upper[i : i + 1], alone.upper, rtol=1e-10, atol=1e-10)


def test_short_form_and_regions_agree(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("five"), method), networks.inputs("five")
    for norm, clip in ((math.inf, None), (2.0, (0.0, 1.0)), (1.0, None)):
        region = boundgraph.LpBall(x, 0.2, norm, clip)
        assert _same(bounded(x, eps=0.2, norm=norm, clip=clip), bounded(region))
    torch.testing.assert_close(bounded(x, eps=0.2).lower, bounded(boundgraph.Box(x - 0.2, x + 0.2)).lower)


def test_hooks_and_apply_work_as_on_any_module(networks: ModuleType) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("five")), networks.inputs("five")
    seen = []
    bounded.register_forward_hook(lambda module, args, output: seen.append(output))
    bounds = bounded(x, eps=0.1)
    assert seen[0] is bounds
    bounded.apply(lambda module: None).requires_grad_(False)
    assert not bounded(x, eps=0.1).lower.requires_grad


def test_functional_call_swaps_weights(networks: ModuleType, method: str) -> None:
    first, second = (boundgraph.compile(networks.build("deep", seed), method) for seed in (1, 2))
    (x,) = networks.inputs("deep")
    found = torch.func.functional_call(first, dict(second.named_parameters()), (x,), {"eps": 0.1})
    assert _same(found, second(x, eps=0.1))


def test_no_grad_and_inference_mode(networks: ModuleType, method: str) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("residual-cnn"), method), networks.inputs("residual-cnn")
    expected = bounded(x, eps=0.1)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            found = bounded(x, eps=0.1)
        assert not found.lower.requires_grad
        torch.testing.assert_close(found[:2], expected[:2], rtol=1e-12, atol=1e-12)


def test_an_empty_batch_has_no_bounds(networks: ModuleType, method: str) -> None:
    bounds = boundgraph.compile(networks.build("residual-cnn"), method)(
        torch.rand(0, 1, 6, 6, dtype=torch.double), eps=0.1
    )
    assert bounds.lower.shape == bounds.upper.shape == (0, 3)
