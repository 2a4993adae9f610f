"""The loss as part of the graph: one row to bound instead of one per margin."""

from __future__ import annotations

from typing import Any

from torch import fx

from boundgraph.ops import exp_sum
from passes.graphs import copy_into, emit, kind, node_argument, rebuilt, request_of
from passes.interval import as_bounds


def fuse(module: fx.GraphModule) -> fx.GraphModule:
    """Bound the sum of exponentials in the cross-entropy instead of the margins (loss fusion, Xu et al. 2020).

    Before: a graph of intervals, of which the last is that of the margins.
    After:  if the loss was requested: the interval of the sum, `loss_interval`, scaled by `loss_shift`; its linear
            relaxation joins the margins to a single row. Otherwise the same graph.
    """
    if not request_of(module).loss:
        return module
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if kind(node) != "bounds" and node.op != "output":
            copy_into(graph, node, copies)
    margins = copies[node_argument(node_argument(module.graph.output_node()))]
    shift = emit(graph, exp_sum.shift, (margins,), "exact", "loss_shift")
    total = emit(graph, exp_sum.interval, (margins, shift), "interval", "loss_interval")
    total.meta.update(operator=exp_sum.EXP_SUM, of="loss")
    graph.output(emit(graph, as_bounds, (total, request_of(module).sides), "bounds", "bounds"))
    return rebuilt(module, graph)


def with_shift(module: fx.GraphModule) -> fx.GraphModule:
    """Return the scale of the fused loss beside its bounds.

    Before: bounds of the scaled sum of exponentials.
    After:  (bounds, shift), which give the loss as shift + log(sum). Without a requested loss the same graph.
    """
    if not request_of(module).loss:
        return module
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op != "output":
            copy_into(graph, node, copies)
    shift = next(node for node in module.graph.nodes if node.target is exp_sum.shift)
    graph.output((copies[node_argument(module.graph.output_node())], copies[shift]))
    return rebuilt(module, graph)
