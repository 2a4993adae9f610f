"""CROWN (Zhang et al. 2018): linear bounds walked backward from the output to the input.

Together with `boundgraph/linear_forms.py` this is the whole algorithm. The walk knows accumulation and nothing about
any operator; the operators know their own step and nothing about the walk.
"""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable
from inspect import signature
from typing import Any

from torch import Tensor, fx

from boundgraph import linear_forms, regions
from boundgraph.linear_forms import read_sides
from boundgraph.tightening import tighten_rows
from boundgraph.values import Bounds, Interval
from passes.graphs import copy_into, emit, kind, node_argument, node_arguments, operator_of, rebuilt, request_of


def backward(module: fx.GraphModule, *, slope: str = "adaptive") -> fx.GraphModule:
    """Walk linear bounds from the output to the regions, with the intervals at hand for the relaxations.

    Before: a graph of intervals.
    After:  `n_relaxation` for each non-linear node, `n_form` for each node the output depends on, and bounds from the
            minimum of the forms over the regions. slope: the lower line of ReLU-like neurons, see `relaxations.kinked`.
    """
    if request_of(module).keep_intervals:
        return module  # intervals were asked for, and the last walk gives none
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if kind(node) != "bounds" and node.op != "output":
            copy_into(graph, node, copies)
    result = copies[node_argument(node_argument(module.graph.output_node()))]  # the interval of the output
    sides = request_of(module).sides
    walk = Walk(graph, lambda node: node, lambda node: relaxation(graph, node, slope))
    form = emit(graph, linear_forms.select_sides, (walk.start(result), sides), "form", "rows_form")
    minima = walk.run([n for n in graph.nodes if kind(n) == "interval"], walk.first(result, form))
    total = walk.total(minima)
    graph.output(emit(graph, collect, (total, result, sides), "bounds", "bounds"))
    return rebuilt(module, graph)


def collect(row_bounds: Tensor, interval: Interval, sides: str) -> Bounds:
    """Bounds in the shape of the output, with the interval bounds of the same quantity beside them."""
    lower, upper, _ = read_sides(row_bounds, sides)
    shape = interval.lower.shape
    return Bounds(
        None if lower is None else lower.reshape(shape), None if upper is None else upper.reshape(shape), interval
    )


def relaxation(graph: fx.Graph, node: fx.Node, slope: str) -> fx.Node:
    """The lines of a non-linear node, on the interval of its operand."""
    op = operator_of(node)
    assert op is not None
    assert op.relax is not None
    args = (*node.args, slope) if "slope" in signature(op.relax).parameters else node.args
    return emit(graph, op.relax, args, "relaxation", f"{node.meta['of']}_relaxation", node)


class Walk:
    """Emits the backward walk over interval nodes into `graph`.

    value: where the walk finds an interval or exact node of the outer graph; relaxed: the same for relaxations.
    """

    def __init__(
        self, graph: fx.Graph, value: Callable[[fx.Node], fx.Node], relaxed: Callable[[fx.Node], fx.Node]
    ) -> None:
        self.graph, self.value, self.relaxed = graph, value, relaxed

    def start(self, result: fx.Node) -> fx.Node:
        """The rows of the output: its own linear form if it is a specification, else one row per element."""
        op = operator_of(result)
        if op is not None and op.start is not None:
            return emit(self.graph, op.start, result.args, "form", f"{result.meta['of']}_rows", result)
        return emit(self.graph, linear_forms.identity, (result,), "form", f"{result.meta['of']}_rows", result)

    def first(self, result: fx.Node, form: fx.Node) -> dict[fx.Node, fx.Node]:
        """The node that the starting rows are linear in, and the rows."""
        op = operator_of(result)
        node = next(node_arguments(result.args[0])) if op is not None and op.start is not None else result
        return {node: form}

    def run(self, intervals: list[fx.Node], forms: dict[fx.Node, fx.Node]) -> list[fx.Node]:
        """The walk itself. Returns, per region reached, the node with the minimum of its form."""
        minima = []
        for node in reversed(intervals):
            if (form := forms.get(node)) is None:
                continue  # the rows do not depend on it
            if node.target is regions.interval:
                region = self.value(node_argument(node))
                minima.append(self.emit(regions.minimum, (form, region), "bounds", f"{node.meta['of']}_minimum"))
                continue
            for source, pulled in self.pull(node, form):
                if source in forms:  # paths join
                    pulled = self.emit(linear_forms.add, (forms[source], pulled), "form", f"{source.meta['of']}_form")
                forms[source] = pulled
        return minima

    def pull(self, node: fx.Node, form: fx.Node) -> list[tuple[fx.Node, fx.Node]]:
        """The form in terms of each interval that the node was computed from."""
        if node.target is tighten_rows:  # the same value with better bounds
            return [(node_argument(node, 1), form)]
        op = operator_of(node)
        assert op is not None
        sources = [source for source in node_arguments(node.args) if kind(source) == "interval"]
        names = [f"{source.meta['of']}_form" for source in sources]
        if op.relax is not None:
            target: Callable[..., Any] = op.through or linear_forms.lower_through
            args: tuple = (form, self.relaxed(node))
        else:
            assert op.backward is not None
            target, args = op.backward, (form, *fx.node.map_arg(node.args, self.value))
        if len(sources) == 1:
            return [(sources[0], self.emit(target, args, "form", names[0], node))]
        several = self.emit(target, args, "form", f"{node.meta['of']}_forms", node)
        parts = [self.emit(python_operator.getitem, (several, i), "form", name) for i, name in enumerate(names)]
        return list(zip(sources, parts, strict=True))

    def total(self, minima: list[fx.Node]) -> fx.Node:
        """The bound of the rows: regions are independent, so their minima add up."""
        total = minima[0]
        for minimum in minima[1:]:
            total = self.emit(python_operator.add, (total, minimum), "bounds", "rows_minimum")
        return total

    def emit(
        self, target: Callable[..., Any], args: tuple, kind: str, name: str, origin: fx.Node | None = None
    ) -> fx.Node:
        return emit(self.graph, target, args, kind, name, origin)
