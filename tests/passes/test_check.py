"""The grammar check names the pass and the node, also for passes of the user's own."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import fx
from torch.fx import GraphModule

import boundgraph
from boundgraph import linear_forms
from boundgraph.methods import pass_name
from passes import check
from passes.graphs import copy_into, emit, kind, rebuilt


def _with_node(module: GraphModule, target: object, source: str, node_kind: str, name: str) -> GraphModule:
    """A copy of the graph with one more call, on the node `source`."""
    graph, copies = fx.Graph(), {}
    for node in module.graph.nodes:
        if node.op == "output":
            chosen = next(new for old, new in copies.items() if old.name == source)
            emit(graph, target, (chosen,), node_kind, name)
        copy_into(graph, node, copies)
    return rebuilt(module, graph)


def form_of_a_primal_value(module: GraphModule) -> GraphModule:
    return _with_node(module, linear_forms.identity, "fc1", "form", "misplaced")


def nonsense_kind(module: GraphModule) -> GraphModule:
    return _with_node(module, torch.relu, "fc1", "poetry", "verse")


def later_than_used(module: GraphModule) -> GraphModule:
    """Reads a node before it is computed."""
    result = rebuilt(module, _with_node(module, torch.relu, "fc1", "perturbed", "late").graph)
    nodes = {node.name: node for node in result.graph.nodes}
    nodes["relu"].args = (nodes["late"],)
    return result


def interval_that_reads_a_form(module: GraphModule) -> GraphModule:
    return _with_node(module, torch.neg, "rows_form", "interval", "circular")


def pipeline(extra: object, after: str, method: str = "crown-ibp") -> tuple:
    """The passes of a method with one more behind `after`."""
    passes = boundgraph.method(method)
    position = next(i for i, rewrite in enumerate(passes) if after in pass_name(rewrite)) + 1
    return (*passes[:position], extra, *passes[position:])


@pytest.mark.parametrize(
    ("broken", "after", "message"),
    [
        (form_of_a_primal_value, "mark_perturbed",
         "pass {module}.form_of_a_primal_value broke the grammar: `misplaced` (form) reads `fc1` (perturbed), but may read "
         "only exact, form, interval, relaxation"),
        (nonsense_kind, "mark_perturbed",
         "pass {module}.nonsense_kind made node `verse` of unknown kind 'poetry'"),
        (interval_that_reads_a_form, "crown.backward",
         "pass {module}.interval_that_reads_a_form broke the grammar: `circular` (interval) reads `rows_form` (form), but "
         "may read only exact, interval, region, relaxation, walk"),
    ],
)  # fmt: skip
def test_broken_passes_are_named(networks: ModuleType, broken: object, after: str, message: str) -> None:
    with pytest.raises(boundgraph.GraphError) as caught:
        boundgraph.compile(networks.build("five"), pipeline(broken, after))
    assert str(caught.value) == message.format(module=__name__.rsplit(".", 1)[-1])


def test_a_graph_out_of_order_names_the_pass(networks: ModuleType) -> None:
    with pytest.raises(boundgraph.GraphError, match=r"later_than_used.*'relu'"):
        boundgraph.compile(networks.build("five"), pipeline(later_than_used, "mark_perturbed"))


def test_a_pass_that_returns_nothing_is_named(networks: ModuleType) -> None:
    def forgets(module: GraphModule) -> None:
        return None

    with pytest.raises(boundgraph.GraphError, match="forgets.*None"):
        boundgraph.compile(networks.build("five"), pipeline(forgets, "mark_perturbed"))


def test_nested_walks_are_checked_too(networks: ModuleType, stages: object) -> None:
    module = stages(networks.build("deep"), "crown")["tightening.preactivations"]  # type: ignore[operator]
    walk = next(iter(module.meta["walks"].values()))
    victim = next(node for node in walk.graph.nodes if kind(node) == "form" and node.op == "call_function")
    victim.meta["kind"] = "relaxation"
    with pytest.raises(boundgraph.GraphError, match=r"pass mine broke the grammar: `\w+` \(relaxation\) reads"):
        check.grammar(module, "mine")


def test_well_formed_graphs_pass(networks: ModuleType, stages: object) -> None:
    for method in networks.METHODS:
        for name, module in stages(networks.build("residual-cnn").train(), method).items():  # type: ignore[operator]
            check.grammar(module, name)
