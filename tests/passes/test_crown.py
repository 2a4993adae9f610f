"""The backward walk: forms, relaxations, sums at forks."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch.fx import GraphModule

import boundgraph
from boundgraph import linear_forms, regions
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
        "relu_offset", "y_minimum", "x_minimum", "rows_distance", "bounds",
    ]  # fmt: skip


def test_shared_layer_is_walked_twice(check_pass: Check) -> None:
    check_pass("crown.backward", "shared")


@pytest.mark.parametrize("method", ["crown-ibp", "crown"])
@pytest.mark.parametrize(
    "name", ["five", "residual", "shared", "normalised", "conv", "residual-cnn", "max-pool", "smooth"]
)
def test_passes_behind_the_walk_change_no_bound(networks: ModuleType, stages: Callable, name: str, method: str) -> None:
    """Layouts and clean-up are about speed: all stages from the walk on give the same bounds."""
    region = boundgraph.LpBall(*networks.inputs(name), 0.1)
    after_each = stages(networks.build(name), method)
    names = list(after_each)
    expected = after_each["crown.backward"](region)
    for later in names[names.index("crown.backward") + 1 :]:
        found = after_each[later](region)
        torch.testing.assert_close(found.lower, expected.lower, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.upper, expected.upper, rtol=1e-10, atol=1e-10)
        for one, other in zip(found.interval, expected.interval, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_box_is_asked_for_its_radii_alone(networks: ModuleType, stages: Callable) -> None:
    """A ball has a minimum of its own, which also depends on its norm."""
    for balls, minimum in ((False, regions.minimum_on_box), (True, regions.minimum)):
        after = stages(networks.build("five"), balls=balls)["crown.backward"]
        asked = {node.target for node in after.graph.nodes if node.name == "x_minimum"}
        assert asked == {minimum}


def test_tightened_values_move_the_centre(check_pass: Check) -> None:
    """A value whose bounds were tightened has another centre, and the walk passes from one to the other."""
    _, after = check_pass("crown.backward", "deep", "crown", golden="deep-crown")
    moves = [node for node in after.graph.nodes if node.target is linear_forms.moved]
    assert [str(node.args[1:]) for node in moves] == ["(fc2_tightened_center, [fc2_form], [fc2_interval_center])"]


def test_what_has_no_lines_moves_the_centre(check_pass: Check) -> None:
    """Max-pooling moves coefficients to the inputs that it selects, and measures nothing from centres."""
    _, after = check_pass("crown.backward", "max-pool")
    assert [node for node in after.graph.nodes if node.target is linear_forms.moved]
