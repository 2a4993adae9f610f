"""The backward walk: forms, relaxations, sums at forks."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch.fx import GraphModule

import boundgraph
from boundgraph import linear_forms
from passes.graphs import kind

Check = Callable[..., tuple[GraphModule, GraphModule]]


def test_five_nodes(check_pass: Check) -> None:
    check_pass("crown.backward", "five")


def test_five_nodes_with_a_specification_and_one_side(check_pass: Check) -> None:
    check_pass("crown.backward", "five", golden="five-lower", spec=True, sides="lower")


def test_forms_add_up_where_paths_join(check_pass: Check) -> None:
    _, after = check_pass("crown.backward", "residual")
    assert [node.name for node in after.graph.nodes if node.target is linear_forms.add]


def test_two_regions_have_two_minima(check_pass: Check) -> None:
    _, after = check_pass("crown.backward", "two-inputs")
    assert [node.name for node in after.graph.nodes if kind(node) == "bounds"] == [
        "y_minimum", "x_minimum", "rows_minimum", "bounds",
    ]  # fmt: skip


def test_shared_layer_is_walked_twice(check_pass: Check) -> None:
    check_pass("crown.backward", "shared")


@pytest.mark.parametrize("method", ["crown-ibp", "crown"])
@pytest.mark.parametrize(
    "name", ["five", "residual", "shared", "normalised", "conv", "residual-cnn", "max-pool", "smooth"]
)
def test_passes_behind_the_walk_change_no_bound(networks: ModuleType, stages: Callable, name: str, method: str) -> None:
    """Fusion and clean-up are about speed: all stages from the walk on give the same bounds."""
    region = boundgraph.LpBall(*networks.inputs(name), 0.1)
    after_each = stages(networks.build(name), method)
    names = list(after_each)
    expected = after_each["crown.backward"](region)
    for later in names[names.index("crown.backward") + 1 :]:
        found = after_each[later](region)
        torch.testing.assert_close(found.lower, expected.lower, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.upper, expected.upper, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.interval, expected.interval, rtol=1e-10, atol=1e-10)
