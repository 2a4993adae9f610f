"""The walk in another precision than everything else."""

from __future__ import annotations

import operator as python_operator

from torch import fx

from boundgraph import linear_forms, precision
from passes.graphs import copy_into, emit, kind, model_of, node_argument, reached_from, rebuilt


def bfloat16(module: fx.GraphModule) -> fx.GraphModule:
    """Walk with coefficients in bfloat16, for training (mixed precision, Micikevicius et al. 2018).

    Before: a walk from `rows_form` to `rows_distance`, all in float32, as the model.
    After:  its coefficients, and the weights that they meet, are rounded to bfloat16; steps that make offsets of them
            compute in float32. `rows_estimate` refuses distances that nobody differentiates. A graph without a walk
            stays as it is.

    Raises:
        PrecisionError: the model is not in float32.
    """
    precision.require_single(model_of(module))
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    narrow: set[fx.Node] = set()  # forms that are in bfloat16

    def half(source: fx.Node) -> fx.Node:
        if source in narrow or kind(source) not in ("form", "exact"):
            return copies[source]
        return emit(graph, precision.narrowed, (copies[source],), kind(source), f"{source.name}_bf16")

    def full(source: fx.Node) -> fx.Node:
        if source not in narrow:
            return copies[source]
        return emit(graph, precision.widened, (copies[source],), "form", f"{source.name}_float32")

    starts = [node for node in module.graph.nodes if node.target is linear_forms.select_sides]
    walk = reached_from(module.graph, starts, blocked=lambda node: False)
    for node in module.graph.nodes:
        if node not in walk or _makes_offsets(node):
            copies[node] = graph.node_copy(node, full)
        elif node.target is python_operator.getitem:
            copy_into(graph, node, copies)
            narrow |= {node} if node_argument(node) in narrow and kind(node) == "form" else set()
        else:
            copies[node] = graph.node_copy(node, half)
            narrow.add(node)
        if node.target is linear_forms.lower_through:
            copies[node].target = precision.lower_through
        elif node.target is linear_forms.total:
            copies[node] = emit(graph, precision.for_training, (copies[node],), "bounds", "rows_estimate")
    return rebuilt(module, graph)


def _makes_offsets(node: fx.Node) -> bool:
    """Whether a step of the walk is computed in float32. That through lines is too, but converts by itself."""
    if node.target in (python_operator.getitem, linear_forms.lower_through):
        return False
    return kind(node) == "bounds" or any(kind(source) == "relaxation" for source in node.all_input_nodes)
