"""IBP as a graph: one interval per perturbed value."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

import boundgraph
from passes.graphs import kind

Check = Callable[..., tuple[GraphModule, GraphModule]]


class ReadsShape(nn.Module):
    """Reads the shape of a perturbed value."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.fc1(x))
        return self.fc2(h.view(h.size(0), -1)) + torch.zeros_like(h).sum(1, keepdim=True)


def test_five_nodes(check_pass: Check) -> None:
    before, after = check_pass("interval.forward", "five")
    perturbed = [
        node.name for node in before.graph.nodes if kind(node) in ("region", "perturbed") and node.op != "output"
    ]
    intervals = [node.meta["of"] for node in after.graph.nodes if kind(node) == "interval"]
    assert intervals == perturbed


def test_residual(check_pass: Check) -> None:
    check_pass("interval.forward", "residual", "ibp")


def test_exact_input_keeps_its_values(check_pass: Check) -> None:
    check_pass("interval.forward", "two-inputs", "ibp", regions=("x",), sides="lower")


def test_shapes_of_perturbed_values_are_exact(check_pass: Check) -> None:
    _, after = check_pass("interval.forward", ReadsShape(), "ibp", golden="reads-shape")
    x = torch.randn(2, 3)
    assert after(boundgraph.LpBall(x, 0.1)).lower.shape == (2, 3)


def test_sides_that_are_not_asked_for_are_none(networks: ModuleType, stages: Callable) -> None:
    region = boundgraph.LpBall(*networks.inputs("five"), 0.1)
    for sides, missing in (("lower", "upper"), ("upper", "lower")):
        bounds = stages(networks.build("five"), "ibp", sides=sides)["interval.forward"](region)
        assert getattr(bounds, missing) is None
        assert getattr(bounds, sides) is not None
        assert bounds.interval is not None
