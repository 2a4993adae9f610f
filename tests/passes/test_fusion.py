"""A linear layer and the activation above it in one step."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import GraphModule

from boundgraph import linear_forms, operator
from boundgraph.ops import conv, linear

Check = Callable[..., tuple[GraphModule, GraphModule]]


def test_five_nodes(check_pass: Check) -> None:
    _, after = check_pass("fusion.linear_relu", "five")
    targets = [node.target for node in after.graph.nodes]
    assert targets.count(linear.fused) == 1
    assert linear_forms.lower_through not in targets


def test_convolutions(check_pass: Check) -> None:
    _, after = check_pass("fusion.linear_relu", "conv")
    assert [node.target for node in after.graph.nodes].count(conv.fused) == 2


def test_what_is_left_is_read_by_no_fusible_layer(check_pass: Check) -> None:
    """Behind the fork of the residual network the relaxed form is read by the sum, which has no fused step."""
    _, after = check_pass("fusion.linear_relu", "residual")
    kept = [node for node in after.graph.nodes if node.target is linear_forms.lower_through]
    assert [node.name for node in kept] == ["add_form"]
    assert all(operator.fused(user.target) is None for node in kept for user in node.users)
