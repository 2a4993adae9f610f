"""The walk in another precision than everything else."""

from __future__ import annotations

import operator as python_operator
from functools import partial

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

    def converted(source: fx.Node, half: frozenset[str]) -> fx.Node:
        if kind(source) in half and source not in narrow:
            return emit(graph, precision.narrowed, (copies[source],), kind(source), f"{source.name}_bf16")
        if not half and source in narrow:
            return emit(graph, precision.widened, (copies[source],), "form", f"{source.name}_float32")
        return copies[source]

    starts = [node for node in module.graph.nodes if node.target is linear_forms.select_sides]
    walk = reached_from(module.graph, starts, blocked=lambda node: False)
    for node in module.graph.nodes:
        if node in walk and node.target is python_operator.getitem:
            copy_into(graph, node, copies)
            half = node_argument(node) in narrow
        else:
            kinds = _taken_in_half(node) if node in walk else frozenset()
            copies[node] = graph.node_copy(node, partial(converted, half=kinds))
            half = bool(kinds)
        if half and kind(node) == "form":
            narrow.add(node)
        copies[node].target = precision.CONVERTING.get(node.target, node.target)
        if node.target is linear_forms.total:
            copies[node] = emit(graph, precision.for_training, (copies[node],), "bounds", "rows_estimate")
    return rebuilt(module, graph)


def _taken_in_half(node: fx.Node) -> frozenset[str]:
    """Kinds of values that a step of the walk takes in bfloat16; none if it makes offsets, which are float32."""
    if node.target in precision.CONVERTING:
        return frozenset({"form"})
    makes_offsets = kind(node) == "bounds" or any(kind(source) == "relaxation" for source in node.all_input_nodes)
    return frozenset() if makes_offsets else frozenset({"form", "exact"})
