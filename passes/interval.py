"""Interval bound propagation (Gowal et al. 2018) as a graph rewrite."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, fx

from boundgraph import regions, values
from boundgraph.capture import reads_metadata_only
from boundgraph.values import Bounds, Interval
from passes.graphs import emit, kind, mapped, operator_of, rebuilt, request_of


def forward(module: fx.GraphModule) -> fx.GraphModule:
    """Give every perturbed value its interval.

    Before: the primal graph, perturbed nodes marked.
    After:  each region `x` has a node `x_interval`; each perturbed node `n` is replaced by `n_interval`, its operator's
            interval rule on the intervals of its operands; the output is the Bounds they give. An output that no
            perturbation reaches is its own bound from both sides.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    intervals: dict[fx.Node, fx.Node] = {}
    shapes: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node.op == "output":
            results = mapped(node.args[0], lambda n: intervals.get(n) or copies[n])
            graph.output(mapped(results, partial(_bounds, graph, request_of(module).sides)))
        elif kind(node) == "perturbed":
            args = mapped(node.args, lambda n: intervals.get(n) or copies[n])
            op = operator_of(node)
            assert op is not None  # mark_perturbed has made sure
            intervals[node] = emit(graph, op.interval, args, "interval", f"{node.name}_interval", node)
            intervals[node].meta.update(operator=op, of=node.name)
        else:
            for source in node.all_input_nodes:
                if source in intervals and source not in shapes:
                    shape = (intervals[source],)
                    shapes[source] = emit(graph, values.shape_source, shape, "exact", f"{source.name}_shape", source)
            sources = copies | shapes if reads_metadata_only(node) else copies
            copies[node] = graph.node_copy(node, sources.__getitem__)
            if kind(node) == "region":
                intervals[node] = emit(graph, regions.interval, (copies[node],), "interval", f"{node.name}_interval")
                intervals[node].meta.update(of=node.name)
    return rebuilt(module, graph)


def _bounds(graph: fx.Graph, sides: str, value: fx.Node) -> fx.Node:
    rule = as_bounds if kind(value) == "interval" else exact_as_bounds
    return emit(graph, rule, (value, sides), "bounds", "bounds")


def exact_as_bounds(value: Any, sides: str) -> Any:
    """A tensor that no perturbation reaches; what is no tensor stays what it is."""
    return as_bounds(Interval(value, value), sides) if isinstance(value, Tensor) else value


def as_bounds(interval: Interval, sides: str) -> Bounds:
    lower = None if sides == "upper" else interval.lower
    upper = None if sides == "lower" else interval.upper
    return Bounds(lower, upper, interval)
