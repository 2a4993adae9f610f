"""Nested walks for pre-activations."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from boundgraph.tightening import tighten_rows
from passes.graphs import walks_of

Check = Callable[..., tuple[GraphModule, GraphModule]]


def test_deep(check_pass: Check) -> None:
    """The first layer is exact by IBP, the second gets a walk over its unstable rows."""
    _, after = check_pass("tightening.preactivations", "deep", "crown")
    assert list(walks_of(after)) == ["fc2_walk"]


def test_residual(check_pass: Check) -> None:
    check_pass("tightening.preactivations", "residual", "crown")


def test_every_row_of_a_smooth_activation_is_walked(check_pass: Check) -> None:
    _, after = check_pass("tightening.preactivations", "smooth", "crown")
    (call,) = [node for node in after.graph.nodes if node.target is tighten_rows]
    assert call.args[2] is None


def test_first_layer_of_a_ball(check_pass: Check) -> None:
    _, after = check_pass("tightening.first_layer", "deep", balls=True)
    assert list(walks_of(after)) == ["fc1_walk"]


def test_first_layer_of_a_box_is_left_alone(
    networks: ModuleType, stages: Callable, text: Callable[[GraphModule], str]
) -> None:
    after_each = stages(networks.build("deep"))
    assert text(after_each["tightening.first_layer"]) == text(after_each["interval.forward"])


def test_ball_under_crown(check_pass: Check) -> None:
    _, after = check_pass("tightening.preactivations", "deep", "crown", golden="deep-ball", balls=True)
    assert list(walks_of(after)) == ["fc1_walk", "fc2_walk"]


class TwoReaders(nn.Module):
    """One pre-activation, read by a ReLU and by a tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc2(torch.relu(self.fc1(x)))
        return torch.relu(h) + torch.tanh(h)


def test_every_row_is_walked_where_another_activation_needs_it(networks: ModuleType, stages: Callable) -> None:
    """What is stable for the ReLU is not finished for the tanh."""
    after = stages(TwoReaders(), "crown")["tightening.preactivations"]
    calls = [node for node in after.graph.nodes if node.target is tighten_rows]
    assert [call.args[2] for call in calls] == [None]
    assert {str(user) for user in calls[0].users} >= {"relu_1_interval", "tanh_interval"}
