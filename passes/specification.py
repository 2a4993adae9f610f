"""The specification as part of the graph."""

from __future__ import annotations

from torch import fx

from boundgraph.ops import linear, reshape, specification
from passes.graphs import copy_into, emit, kind, rebuilt, request_of


def append(module: fx.GraphModule) -> fx.GraphModule:
    """Let the graph compute the rows to be bounded.

    Before: a canonical graph with output y.
    After:  if a specification was requested: a placeholder `spec`, and output C y; otherwise the same graph.
    """
    graph, copies = fx.Graph(), {}
    wanted = request_of(module).spec
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node in module.graph.nodes:
        if node.op == "output" and wanted:
            rows = emit(graph, specification.forward, (copies[node.args[0]], spec), "exact", "specified")
            graph.output(rows)
            continue
        copy_into(graph, node, copies)
        if wanted and inputs and node is inputs[-1]:
            spec = graph.placeholder("spec")
    return rebuilt(module, graph)


def merge(module: fx.GraphModule) -> fx.GraphModule:
    """Fold C into the last linear layer: C (W x + b) = (C W) x + C b, tighter under intervals than one after the other.

    Before: `specification` applied to a linear layer on (batch, inputs), perhaps flattened in between.
    After:  `merged_specification` with the merged weight and bias; the linear layer is left without a reader.
    """
    graph, copies = fx.Graph(), {}
    for node in module.graph.nodes:
        layer = _linear_below(node)
        if layer is None:
            copy_into(graph, node, copies)
            continue
        x, weight, bias = (copies.get(a, a) for a in (*layer.args, None)[:3])  # type: ignore[call-overload]
        spec = copies[node.args[1]]
        parts = [emit(graph, specification.merged_weight, (spec, weight), "exact", f"{layer.name}_weight", layer)]
        if bias is not None:
            parts.append(emit(graph, specification.merged_bias, (spec, bias), "exact", f"{layer.name}_bias", layer))
        copies[node] = emit(graph, specification.merged, (x, *parts), kind(node), f"{layer.name}_specified", layer)
    return rebuilt(module, graph)


def _linear_below(node: fx.Node) -> fx.Node | None:
    """The linear layer whose output a specification reads, or None."""
    if node.target is not specification.forward:
        return None
    below = node.args[0]
    while isinstance(below, fx.Node) and below.target is reshape.flatten and below.args[1:] == (1, -1):
        below = below.args[0]
    is_linear = isinstance(below, fx.Node) and below.target is linear.forward
    return below if is_linear else None  # type: ignore[return-value]
