"""The specification as part of the graph."""

from __future__ import annotations

from typing import Any

from torch import fx

from boundgraph.errors import RegionError
from boundgraph.ops import linear, reshape, specification
from passes.graphs import add_input, copy_into, emit, kind, mapped, node_argument, rebuilt, request_of


def append(module: fx.GraphModule) -> fx.GraphModule:
    """Let the graph compute the rows to be bounded.

    Before: a canonical graph with output y.
    After:  if a specification was requested: a placeholder `spec`, and output C y; otherwise the same graph.

    Raises:
        RegionError: there are several outputs.
    """
    graph = fx.Graph()
    copies: dict[Any, fx.Node] = {}
    if not request_of(module).spec:
        return module
    result = module.graph.output_node().args[0]
    if isinstance(result, tuple):
        raise RegionError(
            f"a specification is about one tensor, but {type(module.model).__name__} returns {len(result)}; wrap the "
            "model in a module that returns the tensor you mean"
        )
    last_input = [node for node in module.graph.nodes if node.op == "placeholder"][-1]
    for node in module.graph.nodes:
        if node.op == "output":
            args = (copies[node_argument(node)], copies["spec"])
            graph.output(emit(graph, specification.forward, args, "exact", "specified"))
        else:
            copy_into(graph, node, copies)
        if node is last_input:
            copies["spec"] = add_input(graph, "spec")
    return rebuilt(module, graph)


def merge(module: fx.GraphModule) -> fx.GraphModule:
    """Fold C into the last linear layer: C (W x + b) = (C W) x + C b, tighter under intervals than one after the other.

    Before: `specification` applied to a linear layer on (batch, inputs), perhaps flattened in between.
    After:  `merged_specification` of the layer's input; the linear layer is left without a reader.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        layer = _linear_below(node)
        if layer is None:
            copy_into(graph, node, copies)
            continue
        x, weight, bias = mapped((*layer.args, None)[:3], lambda old: copies[old])
        args = (x, copies[node_argument(node, 1)], weight, bias)
        copies[node] = emit(graph, specification.merged, args, kind(node), f"{layer.name}_specified", layer)
    return rebuilt(module, graph)


def _linear_below(node: fx.Node) -> fx.Node | None:
    """The linear layer whose output a specification reads, or None."""
    if node.target is not specification.forward:
        return None
    below = node_argument(node)
    while below.target is reshape.flatten and below.args[1:] == (1, -1):
        below = node_argument(below)
    return below if below.target is linear.forward else None
