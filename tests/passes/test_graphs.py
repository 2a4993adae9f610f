"""What the passes share."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import networkx
from torch.fx import GraphModule

from passes.graphs import ancestors, kind, reached_from, rebuilt, to_networkx, walks_of

Text = Callable[[GraphModule], str]


def _node(module: GraphModule, name: str) -> object:
    return next(node for node in module.graph.nodes if node.name == name)


def test_reached_and_ancestors(networks: ModuleType, stages: Callable) -> None:
    captured = stages(networks.build("two-inputs"))["capture"]
    reached = reached_from(captured.graph, [_node(captured, "y")], blocked=lambda node: node.name == "add")
    assert {node.name for node in reached} == {"y", "right"}
    assert {node.name for node in ancestors(_node(captured, "left"))} == {"x", "model_left_weight", "model_left_bias"}


def test_networkx_graph_has_the_same_edges(networks: ModuleType, stages: Callable) -> None:
    emitted = stages(networks.build("residual"))["cleanup.drop_unused"]
    graph = to_networkx(emitted.graph)
    assert set(graph) == {node.name for node in emitted.graph.nodes}
    assert set(graph.edges) == {(s.name, n.name) for n in emitted.graph.nodes for s in n.all_input_nodes}
    assert graph.nodes["fc1_interval"] == {
        "kind": "interval", "op": "call_function", "operator": "linear", "target": graph.nodes["fc1_interval"]["target"],
    }  # fmt: skip
    assert networkx.is_directed_acyclic_graph(graph)


def test_rebuilt_keeps_model_constants_and_walks(networks: ModuleType, stages: Callable) -> None:
    model = networks.build("deep")
    module = stages(model, "crown")["tightening.preactivations"]
    again = rebuilt(module, module.graph)
    assert again.model is model
    assert again.constants is module.constants
    assert list(walks_of(again)) == list(walks_of(module))
    assert again.meta["request"] == module.meta["request"]


def test_names_are_the_layers(networks: ModuleType, stages: Callable) -> None:
    emitted = stages(networks.build("residual"))["cleanup.drop_unused"]
    names = [node.name for node in emitted.graph.nodes if kind(node) == "interval"]
    assert names[:3] == ["x_interval", "fc1_interval", "relu_interval"]
