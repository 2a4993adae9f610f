"""The second front end: models that decide on shapes, captured by torch.export from example inputs."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph


class DecidesOnShape(nn.Module):
    """Cannot be traced symbolically; what it does depends on the image size, not on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 2)
        self._gain = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("_shift", torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1))
        self.register_buffer("scratch", torch.tensor(0.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(x))) * self._gain + self._shift
        if x.shape[-1] > 8:
            x = 3 * F.avg_pool2d(x, 2)
        return self.fc(x.mean((2, 3))) * torch.tensor([1.0, 2.0]) + self.scratch


def _model(training: bool = False) -> nn.Module:
    torch.manual_seed(0)
    model = DecidesOnShape()
    nn.init.normal_(model.bn.running_mean)
    nn.init.uniform_(model.bn.running_var, 0.5, 2.0)
    return model.double().train(training)


def _images(batch: int, size: int = 6) -> Tensor:
    return torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(batch), dtype=torch.double)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("example_batch", [1, 3])
def test_one_example_serves_every_batch_size(networks: ModuleType, example_batch: int, training: bool) -> None:
    bounded = boundgraph.compile(_model(training), "crown", example_inputs=(_images(example_batch),))
    for batch in (1, 2, 5, 19):
        x = _images(batch)
        expected = bounded.primal(x)
        bounds = bounded(x, eps=0.0)
        torch.testing.assert_close(bounds.lower, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(expected, _model(training)(x), rtol=1e-9, atol=1e-9)


def test_without_examples_it_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(boundgraph.CaptureError, match=r"pass example_inputs=\(x, \.\.\.\) to boundgraph\.compile"):
        boundgraph.compile(_model())


def test_switching_the_mode_captures_again(networks: ModuleType) -> None:
    bounded = boundgraph.compile(_model(), example_inputs=(_images(1),))
    x = _images(4)
    networks.assert_exact(bounded, x)
    bounded.train()
    torch.testing.assert_close(bounded(x, eps=0.0).lower, _model(training=True)(x), rtol=1e-9, atol=1e-9)
    bounded.eval()
    networks.assert_exact(bounded, x)


def test_batch_norm_in_train_mode_leaves_the_statistics() -> None:
    model = _model(training=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    boundgraph.compile(model, example_inputs=(_images(1),))(_images(4), eps=0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_every_parameter_is_the_models_own() -> None:
    """Also those whose names begin with an underscore."""
    bounded = boundgraph.compile(_model(), example_inputs=(_images(1),))
    bounded(_images(2), eps=0.1).lower.sum().backward()
    assert [name for name, p in bounded.model.named_parameters() if p.grad is None] == []
    targets = {str(node.target) for node in bounded.graph.nodes if node.op == "get_attr"}
    assert {"model._gain", "model._shift", "model.scratch", "model.fc.weight"} <= targets


def test_new_weights_are_seen(networks: ModuleType) -> None:
    bounded = boundgraph.compile(_model(), example_inputs=(_images(1),))
    with torch.no_grad():
        for tensor in (*bounded.model.parameters(), *bounded.model.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1.25)
    networks.assert_exact(bounded, _images(3))


def test_tied_weights(networks: ModuleType) -> None:
    def body(self: Any, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x).relu()) if x.dim() == 2 else x

    model = networks.net(body)
    model.fc2.weight = model.fc1.weight
    x = torch.randn(4, 3, dtype=torch.double)
    networks.assert_captured(model, x, example_inputs=(x[:1],))


def test_conversion_after_compiling(networks: ModuleType) -> None:
    bounded = boundgraph.compile(_model().float(), example_inputs=(_images(1).float(),)).double()
    torch.testing.assert_close(bounded(_images(2), eps=0.0).lower, bounded.model(_images(2)), rtol=1e-9, atol=1e-9)


def test_other_image_sizes_are_right_or_refused() -> None:
    """The exported graph holds the branch of the example's size; another size may not run down the wrong one."""
    bounded, x = boundgraph.compile(_model(), example_inputs=(_images(1, size=6),)), _images(2, size=16)
    try:
        bounds = bounded(x, eps=0.0)
    except boundgraph.BoundgraphError:
        return
    torch.testing.assert_close(bounds.lower, bounded.model(x))


BATCHES: dict[str, tuple[Callable, int, int]] = {  # what is decided, batch of the example, batch of the call
    "larger": (lambda batch: batch > 4, 1, 8),
    "one": (lambda batch: batch == 1, 3, 1),
    "the example's": (lambda batch: batch == 4, 4, 5),
    "not the example's": (lambda batch: batch == 4, 3, 4),
    "even": (lambda batch: batch % 2 == 0, 4, 3),
    "odd": (lambda batch: batch % 2 == 0, 3, 4),
    "between": (lambda batch: 2 < batch < 6, 4, 7),
}


@pytest.mark.parametrize("name", BATCHES)
def test_branches_on_the_batch_size_are_right_or_refused(networks: ModuleType, name: str) -> None:
    """Exporting follows one branch; where the model takes the other, the graph is another model."""
    decides, example, call = BATCHES[name]
    model = networks.net(lambda self, x: self.fc1(x).relu() * (2 if decides(x.shape[0]) else 1))
    x = torch.randn(8, 3, dtype=torch.double)
    try:
        bounds = boundgraph.compile(model, example_inputs=(x[:example],))(x[:call], eps=0.0)
    except boundgraph.BoundgraphError:
        return
    torch.testing.assert_close(bounds.lower, model(x[:call]))


class ComparesBatches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3, dtype=torch.double)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.fc(x) + y if x.shape[0] == y.shape[0] else self.fc(x)


def test_comparing_the_sizes_of_two_inputs_is_right_or_refused() -> None:
    x, y = torch.randn(3, 3, dtype=torch.double), torch.randn(1, 3, dtype=torch.double)
    bounded = boundgraph.compile(ComparesBatches().eval(), example_inputs=(x, x))
    try:
        bounds = bounded(boundgraph.LpBall(x, 0.0), y)
    except boundgraph.BoundgraphError:
        return
    torch.testing.assert_close(bounds.lower, bounded.model(x, y))


def test_several_inputs_and_no_batch_in_one(networks: ModuleType) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3, dtype=torch.double)

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            y = self.fc(x).relu()
            return y * scale if len(x.shape) == 2 else y

    x, scale = torch.randn(4, 3, dtype=torch.double), torch.tensor(2.0, dtype=torch.double)
    bounded = boundgraph.compile(Scaled().eval(), example_inputs=(x[:1], scale))
    found = bounded(boundgraph.LpBall(x, 0.0), scale).lower
    torch.testing.assert_close(found, bounded.model(x, scale))


class UsesFrac(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h = x * 2 if x.dim() == 2 else x
        return torch.frac(h)


def test_unsupported_operators_name_the_users_line() -> None:
    with pytest.raises(boundgraph.UnsupportedOperatorError) as caught:
        boundgraph.compile(UsesFrac(), example_inputs=(torch.randn(1, 3),))
    line = UsesFrac.forward.__code__.co_firstlineno + 2
    assert f"{__file__}:{line} (return torch.frac(h))" in str(caught.value)


def test_forward_hooks_are_exported(networks: ModuleType) -> None:
    model, x = networks.net(lambda self, x: self.fc1(x).relu() if x.dim() == 2 else x), torch.randn(3, 3).double()
    model.fc1.register_forward_hook(lambda module, args, output: output * 2)
    model.register_forward_hook(lambda module, args, output: output - 1)
    networks.assert_captured(model, x, example_inputs=(x[:1],))
