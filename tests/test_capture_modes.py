"""Train and eval mode: read live, right in both, and dropout in train mode refused in clear words."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph

DROPOUT_REFUSED = "dropout in train mode is random and has no bounds; call .eval(), or set its p to 0"


def branches_on_mode(self: Any, x: Tensor) -> Tensor:
    return self.fc1(x).relu() if self.training else self.fc2(x).tanh()


def layer_with_its_own_mode(self: Any, x: Tensor) -> Tensor:
    h = self.fc1(x)
    return h.relu() if self.act.training else h * 2


@pytest.mark.parametrize("with_examples", [False, True])
def test_branches_on_self_training(networks: ModuleType, with_examples: bool) -> None:
    x = torch.randn(4, 3, dtype=torch.double)
    bounded = boundgraph.compile(networks.net(branches_on_mode), example_inputs=(x,) if with_examples else None)
    for mode in (True, False, True):
        bounded.train(mode)
        networks.assert_exact(bounded, x)


def test_the_mode_of_one_layer_counts(networks: ModuleType) -> None:
    x, bounded = torch.randn(4, 3, dtype=torch.double), boundgraph.compile(networks.net(layer_with_its_own_mode))
    for mode in (True, False):
        bounded.model.act.train(mode)
        networks.assert_exact(bounded, x)


def test_switching_the_model_behind_our_back(networks: ModuleType) -> None:
    """model.train() and model.eval(), not only bounded.train() and bounded.eval()."""
    bounded, x = boundgraph.compile(networks.net(branches_on_mode)), torch.randn(4, 3, dtype=torch.double)
    bounded.model.train()
    networks.assert_exact(bounded, x)
    bounded.model.eval()
    networks.assert_exact(bounded, x)


def test_the_graph_shown_is_that_of_the_present_mode(networks: ModuleType) -> None:
    bounded = boundgraph.compile(networks.net(branches_on_mode))
    assert "tanh" in bounded.code
    bounded.train()
    assert "tanh" not in bounded.code
    assert "relu" in bounded.code


class Dropping(nn.Module):
    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.fc1, self.drop, self.fc2 = nn.Linear(3, 4), nn.Dropout(p), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.drop(torch.relu(self.fc1(x))))


def test_dropout_in_train_mode_is_refused_at_the_call() -> None:
    """Compiling is fine in either mode, since models are born in train mode."""
    model, x = Dropping().double().train(), torch.randn(4, 3, dtype=torch.double)
    bounded = boundgraph.compile(model)
    line = Dropping.forward.__code__.co_firstlineno + 1
    with pytest.raises(boundgraph.UnsupportedOperatorError) as caught:
        bounded(x, eps=0.1)
    message = str(caught.value)
    assert DROPOUT_REFUSED in message
    assert "layer drop" in message
    assert f"{__file__}:{line} (return self.fc2(self.drop(torch.relu(self.fc1(x)))))" in message
    model.eval()
    torch.testing.assert_close(bounded(x, eps=0.0).lower, model(x))
    model.train()
    with pytest.raises(boundgraph.UnsupportedOperatorError):
        bounded(x, eps=0.1)


@pytest.mark.parametrize("model", [Dropping(0.0).double().train(), Dropping().double().eval()], ids=["p=0", "eval"])
def test_dropout_that_does_nothing_is_nothing(networks: ModuleType, model: nn.Module) -> None:
    bounded, x = boundgraph.compile(model), torch.randn(4, 3, dtype=torch.double)
    networks.assert_exact(bounded, x)
    assert "drop" not in bounded.code.replace("model", "")


def test_dropout_of_an_exact_value_is_refused_too() -> None:
    """It is random although no perturbation reaches it: bounds would hold for one draw."""

    class DroppedMask(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, F.dropout(self.weight, 0.5, self.training))

    bounded = boundgraph.compile(DroppedMask().train())
    with pytest.raises(boundgraph.BoundgraphError, match="dropout in train mode is random"):
        bounded(torch.randn(4, 3), eps=0.1)
    bounded.eval()(torch.randn(4, 3), eps=0.1)


@pytest.mark.parametrize("with_examples", [False, True])
def test_functional_dropout_that_follows_the_mode(networks: ModuleType, with_examples: bool) -> None:
    model = networks.net(lambda self, x: self.fc2(F.dropout(self.fc1(x), 0.5, training=self.training)))
    x = torch.randn(4, 3, dtype=torch.double)
    bounded = boundgraph.compile(model, example_inputs=(x,) if with_examples else None)
    networks.assert_exact(bounded, x)
    model.train()
    with pytest.raises(boundgraph.UnsupportedOperatorError) as caught:
        bounded(x, eps=0.1)
    assert DROPOUT_REFUSED in str(caught.value)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_batch_norm_in_train_mode_uses_the_clean_batch(networks: ModuleType, method: str) -> None:
    """The bounds of the model in train mode are those of the same model with the clean batch's statistics frozen."""
    model, (x,) = networks.build("residual-cnn").train(), networks.inputs("residual-cnn", batch=6)
    frozen = networks.build("residual-cnn").train()
    for module in frozen.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # cumulative: after one batch the running statistics are the batch's
            module.reset_running_stats()
            module.register_forward_hook(_make_biased)
    frozen(x)
    for module in frozen.modules():
        module._forward_hooks.clear()
    found, expected = (boundgraph.compile(m, method)(x, eps=0.05) for m in (model, frozen.eval()))
    torch.testing.assert_close(found.lower, expected.lower, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.upper, expected.upper, rtol=1e-9, atol=1e-9)


def _make_biased(module: nn.BatchNorm2d, args: tuple[Tensor], output: Tensor) -> None:
    """Running variances are unbiased, what normalises a training batch is not."""
    count = args[0].numel() / args[0].shape[1]
    module.running_var.mul_((count - 1) / count)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_without_running_statistics(networks: ModuleType, training: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.ReLU()).double()
    networks.assert_captured(model.train(training), torch.randn(5, 3, dtype=torch.double))


def test_bounds_follow_running_statistics(networks: ModuleType) -> None:
    """Statistics are read at every call, so training the model between two calls is seen."""
    model, (x,) = networks.build("normalised"), networks.inputs("normalised")
    bounded = boundgraph.compile(model)
    bounded(x, eps=0.1)
    with torch.no_grad():
        model.bn.running_mean.add_(1.0)
        model.bn.running_var.mul_(2.0)
    networks.assert_exact(bounded, x)
