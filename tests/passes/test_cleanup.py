"""Equal calls are one node, and what nobody reads is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import ModuleType

import pytest
from torch.fx import GraphModule

from passes.graphs import kind

Check = Callable[..., tuple[GraphModule, GraphModule]]


def test_share_repeats(check_pass: Check) -> None:
    """The layer is applied twice: its weight is read once, its relaxation computed once."""
    before, after = check_pass("cleanup.share_repeats", "shared", "crown")
    reads = Counter(str(node.target) for node in after.graph.nodes if node.op == "get_attr")
    assert set(reads.values()) == {1}
    assert len(after.graph.nodes) < len(before.graph.nodes)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("name", ["residual", "shared", "normalised", "residual-cnn"])
def test_no_two_nodes_are_equal(networks: ModuleType, stages: Callable, name: str, method: str) -> None:
    after = stages(networks.build(name).train(), method)["cleanup.drop_unused"]
    calls = [(n.op, n.target, str(n.args)) for n in after.graph.nodes if n.op in ("call_function", "get_attr")]
    assert len(calls) == len(set(calls))


def test_drop_unused(check_pass: Check) -> None:
    """The last layer's weights are merged with the specification, so its own interval is never computed."""
    _, after = check_pass("cleanup.drop_unused", "five", golden="five-lower", spec=True, sides="lower")
    names = [node.name for node in after.graph.nodes]
    assert "fc2_interval" not in names


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("sides", ["both", "lower", "upper"])
def test_everything_left_is_read(networks: ModuleType, stages: Callable, method: str, sides: str) -> None:
    for name in ("five", "residual", "normalised", "conv", "max-pool"):
        for spec in (False, True):
            after = stages(networks.build(name), method, sides=sides, spec=spec)["cleanup.drop_unused"]
            unread = [n.name for n in after.graph.nodes if not n.users and n.op not in ("output", "placeholder")]
            assert not unread


def test_ibp_leaves_no_trace_of_backward_walks(networks: ModuleType, stages: Callable) -> None:
    after = stages(networks.build("residual"), "ibp", sides="lower")["cleanup.drop_unused"]
    assert {kind(node) for node in after.graph.nodes} <= {"region", "exact", "interval", "bounds"}


def test_kept_intervals_survive(check_pass: Check) -> None:
    _, after = check_pass("cleanup.drop_unused", "deep", "crown", golden="deep-keep-intervals", keep_intervals=True)
    assert "fc2_interval" in [node.name for node in after.graph.nodes]
