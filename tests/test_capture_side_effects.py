"""Capture looks at the model and leaves everything as it was."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph


def _snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that a trace could disturb."""
    return {
        "tensors": {name: tensor.detach().clone() for name, tensor in model.state_dict(keep_vars=True).items()},
        "objects": {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "attributes": {
            name: {key: copy.copy(value) for key, value in vars(module).items()}
            for name, module in model.named_modules()
        },
        "random": (torch.get_rng_state(), random.getstate(), str(numpy.random.get_state())),
    }


def _assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, tensor in before["tensors"].items():
        assert torch.equal(after["tensors"][name], tensor), name
    for what in ("objects", "modes"):
        assert before[what] == after[what]
    for name, attributes in before["attributes"].items():
        for key, value in attributes.items():
            found = after["attributes"][name].get(key, "nothing")
            assert found is value or isinstance(value, Tensor) or found == value, f"{name}.{key}"
        assert attributes.keys() == after["attributes"][name].keys(), name
    assert torch.equal(before["random"][0], after["random"][0])
    assert before["random"][1:] == after["random"][1:]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["residual-cnn", "normalised", "max-pool", "two-inputs", "smooth"])
@pytest.mark.parametrize("with_examples", [False, True])
def test_compile_and_call_change_nothing(networks: ModuleType, name: str, training: bool, with_examples: bool) -> None:
    model, inputs = networks.build(name).train(training), networks.inputs(name)
    before = _snapshot(model)
    bounded = boundgraph.compile(model, "crown", example_inputs=inputs if with_examples else None)
    bounded(boundgraph.LpBall(inputs[0], 0.1), *inputs[1:])
    _assert_same(before, _snapshot(model))


def _remembers(self: Any, x: Tensor) -> Tensor:
    self.last = self.fc1(x)
    return self.last.relu()


def _counts(self: Any, x: Tensor) -> Tensor:
    self.calls = self.calls + 1
    return self.fc1(x).relu()


def _collects(self: Any, x: Tensor) -> Tensor:
    h = self.fc1(x)
    self.seen.append(h)
    return h.relu()


@pytest.mark.parametrize(("forward", "attribute", "value"), [(_remembers, "last", None), (_counts, "calls", 0)])
def test_attributes_written_in_forward_are_restored(
    networks: ModuleType, forward: Callable, attribute: str, value: object
) -> None:
    model = networks.net(forward)
    setattr(model, attribute, value)
    boundgraph.compile(model)
    assert getattr(model, attribute) is value


def test_new_attributes_do_not_stay(networks: ModuleType) -> None:
    model = networks.net(_remembers)
    boundgraph.compile(model)
    assert "last" not in vars(model)


def test_lists_that_forward_appends_to_are_restored(networks: ModuleType) -> None:
    model = networks.net(_collects)
    model.seen = []
    boundgraph.compile(model)
    assert model.seen == []


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_hooks_that_set_weights_leave_no_trace(networks: ModuleType, wrap: Callable) -> None:
    """The old weight_norm sets `layer.weight` before each call; a trace must not leave its stand-in there."""
    model = nn.Sequential(wrap(nn.Linear(3, 3)), nn.ReLU()).double().eval()
    bounded = boundgraph.compile(model)
    assert isinstance(model[0].weight, Tensor)
    networks.assert_exact(bounded, torch.randn(2, 3, dtype=torch.double))


@pytest.mark.parametrize("with_examples", [False, True])
def test_mixed_modes_are_left_alone(networks: ModuleType, with_examples: bool) -> None:
    """BatchNorm left in train mode inside a model in eval mode: neither its mode nor its statistics change."""
    model, inputs = networks.build("normalised"), networks.inputs("normalised")
    model.bn.train()
    before = _snapshot(model)
    bounded = boundgraph.compile(model, example_inputs=inputs if with_examples else None)
    bounded(*inputs, eps=0.1)
    _assert_same(before, _snapshot(model))


def test_a_failed_compile_changes_nothing(networks: ModuleType) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.last = self.fc1(x)
        return torch.frac(F.dropout(self.last, 0.5, self.training))

    model = networks.net(forward).train()
    before = _snapshot(model)
    with pytest.raises(boundgraph.BoundgraphError):
        boundgraph.compile(model)
    _assert_same(before, _snapshot(model))


def test_gradients_of_the_model_are_untouched(networks: ModuleType) -> None:
    model, inputs = networks.build("residual-cnn"), networks.inputs("residual-cnn")
    boundgraph.compile(model, "crown", example_inputs=inputs)(*inputs, eps=0.1)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_grad_mode_and_default_dtype_survive(networks: ModuleType) -> None:
    with torch.no_grad():
        boundgraph.compile(networks.build("five"))
        assert not torch.is_grad_enabled()
    bounded = boundgraph.compile(networks.build("five"))
    assert bounded(*networks.inputs("five"), eps=0.1).lower.requires_grad
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("holder", ["attribute", "buffer"])
def test_tensors_that_forward_writes_to_directly_are_restored(networks: ModuleType, holder: str) -> None:
    """Neither goes through the tracer: what forward does to them while it is traced happens."""

    def body(self: Any, x: Tensor) -> Tensor:
        (self.counter if holder == "attribute" else self._buffers["offset"]).add_(1)
        return self.fc1(x)

    model = networks.net(body)
    model.counter = torch.zeros(3)
    before = model.offset.clone()
    with suppress(boundgraph.BoundgraphError):
        boundgraph.compile(model)
    assert model.counter.tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(model.offset, before)
