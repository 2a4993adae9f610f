"""Moves of the batch that are undone."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import boundgraph
from boundgraph.ops import permute
from boundgraph.testing import check_sound


@pytest.fixture(params=["ibp", "crown-ibp", "crown"])
def method(request: pytest.FixtureRequest) -> str:
    return request.param


class Sequences(nn.Module):
    """forward(x) = body(self, x), x (batch, 5, 4)."""

    def __init__(self, body: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = body
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 3)
        self.places = nn.Parameter(torch.randn(7, 1, 4))
        self.first = nn.Parameter(torch.randn(1, 1, 4))
        self.scale = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def there_and_back(self: Any, x: Tensor) -> Tensor:
    return self.fc2(torch.relu(self.fc1(x.transpose(0, 1)) + 1).transpose(0, 1).flatten(1)[:, :4])


def places(self: Any, x: Tensor) -> Tensor:
    v = x.permute(1, 0, 2)
    v = self.fc1(v * self.scale + self.places[: v.size(0)]).relu()
    return self.fc2(v[-1])


def several(self: Any, x: Tensor) -> Tensor:
    v = x.transpose(1, 0)
    return self.fc2((self.fc1(v).relu() - v / 2).mean(0))


def first_position(self: Any, x: Tensor) -> Tensor:
    v = x.permute(1, 0, 2)
    v = torch.cat([self.first.expand(-1, v.shape[1], -1), v[1:]])
    return self.fc2(self.fc1(v).relu()[0] + v.sum(0))


def image_as_sequence(self: Any, x: Tensor) -> Tensor:
    v = x.unflatten(1, (1, 5)).flatten(1, 2).transpose(1, 2).permute(2, 0, 1)  # (length, batch, features)
    return self.fc2(self.fc1(v).relu().amax(0))


def rows(self: Any, x: Tensor) -> Tensor:
    v = self.fc1(x.reshape(-1, 4)).relu() * self.scale + 1
    return self.fc2(v.view(x.size(0), x.size(1), 4)[:, 0])


def counted_rows(self: Any, x: Tensor) -> Tensor:
    v = self.fc1(x.reshape(x.size(0) * x.size(1), 4)).relu()
    return self.fc2(v.view(x.size(0), -1, 4).mean(1))


BODIES = [there_and_back, places, several, first_position, image_as_sequence, rows, counted_rows]


@pytest.mark.parametrize("examples", [False, True], ids=["traced", "exported"])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_bounds_of_what_moves_the_batch_and_puts_it_back(
    networks: ModuleType, body: Callable, examples: bool, method: str
) -> None:
    model, x = Sequences(body).double().eval(), torch.randn(3, 5, 4, dtype=torch.double)
    bounded = boundgraph.compile(model, method, example_inputs=(x,) if examples else None)
    networks.assert_exact(bounded, x)
    found = bounded(x, eps=0.1)
    for _ in range(20):
        with torch.no_grad():
            y = model(x + 0.2 * torch.rand_like(x) - 0.1)
        assert (found.lower <= y).all()
        assert (y <= found.upper).all()


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_soundness(body: Callable) -> None:
    check_sound(Sequences(body).eval(), boundgraph.LpBall(torch.randn(2, 5, 4), eps=0.1), method="crown")


def test_nothing_is_left_of_moves_that_cancel(stages: Callable) -> None:
    graph = stages(Sequences(there_and_back))["batch_first.restore"].graph
    assert not [node for node in graph.nodes if node.target in (permute.transpose, permute.forward)]


def test_a_graph_without_moves_stays_the_same(stages: Callable, networks: ModuleType) -> None:
    after_each = stages(networks.build("deep"))
    assert after_each["batch_first.restore"] is after_each["primal.mark_perturbed"]


def test_flat_images_are_no_rows(networks: ModuleType) -> None:
    """view(-1, size) is how many models write flatten(1)."""
    model = Sequences(lambda self, x: self.fc2(self.fc1(x).relu().view(-1, 20)[:, :4])).double().eval()
    networks.assert_captured(model, torch.randn(2, 5, 4, dtype=torch.double))


def mixed(self: Any, x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1)


def one_example(self: Any, x: Tensor) -> Tensor:
    return self.fc2(x.transpose(0, 1)[:, 0])


def never_back(self: Any, x: Tensor) -> Tensor:
    return self.fc2(x.transpose(0, 1))


def over_the_batch(self: Any, x: Tensor) -> Tensor:
    return self.fc2(x.transpose(0, 1).mean(1))


def over_rows(self: Any, x: Tensor) -> Tensor:
    return self.fc2(x.reshape(-1, 4)).softmax(0).view(x.size(0), -1, 3)


def row_constants(self: Any, x: Tensor) -> Tensor:
    return (x.reshape(-1, 4) + self.places[:, 0].repeat(5, 1)[:10]).view(x.size(0), -1, 4)


@pytest.mark.parametrize("body", [mixed, one_example, never_back, over_the_batch, over_rows, row_constants])
def test_what_does_not_put_it_back_is_refused(body: Callable, method: str) -> None:
    model, x = Sequences(body).eval(), torch.randn(2, 5, 4)
    with pytest.raises(boundgraph.GraphError):
        boundgraph.compile(model, method)(x, eps=0.1)


def test_matrices_are_no_sequences(method: str) -> None:
    """Of two dimensions the last would be the batch."""
    model = Sequences(lambda self, x: self.fc1(x.transpose(0, 1)).transpose(0, 1)).eval()
    with pytest.raises(boundgraph.GraphError, match="third dimension"):
        boundgraph.compile(model, method)(torch.randn(4, 4), eps=0.1)
