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

from boundgraph import linear_forms, regions, values
from boundgraph.linear_forms import per_example, read_sides
from boundgraph.tightening import tighten_rows
from boundgraph.values import Bounds, Interval
from passes.graphs import (
    copy_into,
    emit,
    kind,
    mapped,
    node_argument,
    node_arguments,
    operator_of,
    rebuilt,
    request_of,
)


def backward(module: fx.GraphModule, *, slope: str = "adaptive") -> fx.GraphModule:
    """Walk linear bounds from the output to the regions, with the intervals at hand for the relaxations.

    Before: a graph of intervals.
    After:  `n_relaxation` for each non-linear node, `n_form` for each node the output depends on, and bounds from the
            minimum of the forms over the regions; one walk per output. slope: the lower line of ReLU-like neurons, see
            `relaxations.kinked`.
    """
    if request_of(module).keep_intervals:
        return module  # intervals were asked for, and the last walk gives none
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if kind(node) != "bounds" and node.op != "output":
            copy_into(graph, node, copies)
    sides = request_of(module).sides
    balls = request_of(module).balls
    intervals = [n for n in graph.nodes if kind(n) == "interval"]
    walk = Walk(graph, graph, lambda node: node, lambda node: relaxation(graph, node, slope), balls)

    def bounds(node: fx.Node) -> fx.Node:
        result = copies[node_argument(node)]
        if kind(result) != "interval":
            return copy_into(graph, node, copies)
        form = emit(graph, linear_forms.select_sides, (walk.start(result), sides), "form", "rows_form")
        offsets = walk.run(intervals, walk.first(result, form))
        return emit(graph, collect, (walk.total(offsets), result, sides), "bounds", "bounds")

    graph.output(mapped(module.graph.output_node().args[0], bounds))
    return rebuilt(module, graph)


def collect(distances: Tensor, interval: Interval, sides: str) -> Bounds:
    """Bounds in the shape of the output, with the interval bounds of the same quantity beside them."""
    lower, upper, _ = read_sides(distances, per_example(interval.center), sides)
    shape = interval.shape
    return Bounds(
        None if lower is None else lower.reshape(shape), None if upper is None else upper.reshape(shape), interval
    )


def relaxation(graph: fx.Graph, node: fx.Node, slope: str) -> fx.Node:
    """The lines of a non-linear node on the interval of its operand, measured from the centres of both."""
    op, name = operator_of(node), f"{node.meta['of']}_relaxation"
    assert op is not None
    assert op.relax is not None
    options = (slope,) if "slope" in signature(op.relax).parameters else ()
    if op.centred is not None:
        return emit(graph, op.centred, (node, *node.args, *options), "relaxation", name, node)
    lines = emit(graph, op.relax, (*node.args, *options), "relaxation", name, node)
    if op.through is not None:  # no lines; the walk moves its coefficients instead
        return lines
    return emit(graph, linear_forms.centred, (lines, node, node_argument(node)), "relaxation", f"{name}_centred", node)


class Walk:
    """Emits the backward walk over the interval nodes of `outer` into `graph`, which may be the same.

    value: where the walk finds a node of `outer`; relaxed: where it finds the relaxation of one. balls: whether the
    minimum over a region takes more than the radii of a box.
    """

    def __init__(
        self,
        graph: fx.Graph,
        outer: fx.Graph,
        value: Callable[[fx.Node], fx.Node],
        relaxed: Callable[[fx.Node], fx.Node],
        balls: bool,
    ) -> None:
        self.graph, self.outer, self.value, self.relaxed, self.balls = graph, outer, value, relaxed, balls

    def start(self, result: fx.Node) -> fx.Node:
        """The coefficients of the output: its own if it is a specification, else one row per element."""
        op = operator_of(result)
        if op is not None and op.start is not None:
            return self.emit(op.start, result.args, "form", f"{result.meta['of']}_rows", result)
        return self.emit(linear_forms.identity, (result,), "form", f"{result.meta['of']}_rows", result)

    def first(self, result: fx.Node, form: fx.Node) -> dict[fx.Node, fx.Node]:
        """The node that the starting rows are linear in, and the rows."""
        op = operator_of(result)
        node = next(node_arguments(result.args[0])) if op is not None and op.start is not None else result
        return {node: form}

    def run(self, intervals: list[fx.Node], forms: dict[fx.Node, fx.Node]) -> list[fx.Node]:
        """The walk itself. Returns what it collects on the way: the offsets, and the minima over the regions."""
        offsets = []
        for node in reversed(intervals):
            if (form := forms.get(node)) is None:
                continue  # the rows do not depend on it
            if node.target is regions.interval:
                offsets.append(self.minimum(node, form))
                continue
            pulled, offset = self.pull(node, form)
            offsets += offset
            for source, part in pulled:
                if source in forms:  # paths join
                    part = self.emit(linear_forms.add, (forms[source], part), "form", f"{source.meta['of']}_form")
                forms[source] = part
        return offsets

    def minimum(self, node: fx.Node, form: fx.Node) -> fx.Node:
        """How far the rows can fall below their value at the centre of a region."""
        if self.balls:
            name = f"{node.meta['of']}_minimum"
            return self.emit(regions.minimum, (form, self.value(node_argument(node))), "bounds", name)
        return self.minimum_of(node, form)

    def minimum_of(self, node: fx.Node, form: fx.Node) -> fx.Node:
        """How far the rows can fall below their value at the centre of an interval, if nothing else is known."""
        name, radius = f"{node.meta['of']}_minimum", self.about(values.radius_of, node, "radius")
        return self.emit(regions.minimum_on_box, (form, radius), "bounds", name)

    def pull(self, node: fx.Node, form: fx.Node) -> tuple[list[tuple[fx.Node, fx.Node]], list[fx.Node]]:
        """The form in terms of each interval that the node was computed from, and the offsets that are left over."""
        if node.target is tighten_rows:  # the same value with better bounds, and so with another centre
            source = node_argument(node, 1)
            return [(source, form)], [self.moved(form, node, [form], [source])]
        op = operator_of(node)
        assert op is not None
        if op.backward is None and op.relax is None:
            # its interval alone is known: two constants, centre -+ radius, so nothing is left to walk
            return [], [self.minimum_of(node, form)]
        sources = [source for source in node_arguments(node.args) if kind(source) == "interval"]
        if op.backward is not None:
            args = (form, *fx.node.map_arg(node.args, self.value))
            forms = self.split(op.backward, args, sources, node)
            return list(zip(sources, forms, strict=True)), []
        name = f"{node.meta['of']}_lines"
        lines = self.emit(op.through or linear_forms.lower_through, (form, self.relaxed(node)), "form", name, node)
        forms = self.split(python_operator.getitem, (lines, 0), sources, node)
        offsets = [self.emit(python_operator.getitem, (lines, 1), "bounds", f"{node.meta['of']}_offset", node)]
        if op.through is not None:  # what it gives is not measured from the centres
            offsets.append(self.moved(form, node, forms, sources))
        return list(zip(sources, forms, strict=True)), offsets

    def split(self, target: Callable[..., Any], args: tuple, sources: list[fx.Node], origin: fx.Node) -> list[fx.Node]:
        """Emit a call that gives the form of the only source, or a tuple of forms."""
        names = [f"{source.meta['of']}_form" for source in sources]
        if len(sources) == 1:
            return [self.emit(target, args, "form", names[0], origin)]
        several = self.emit(target, args, "form", f"{origin.meta['of']}_forms", origin)
        return [self.emit(python_operator.getitem, (several, i), "form", name) for i, name in enumerate(names)]

    def moved(self, form: fx.Node, node: fx.Node, forms: list[fx.Node], sources: list[fx.Node]) -> fx.Node:
        """The offset between a form about one centre and the forms that replace it, about others."""
        center, *centers = (self.about(values.center_of, n, "center") for n in (node, *sources))
        return self.emit(linear_forms.moved, (form, center, forms, centers), "bounds", f"{node.meta['of']}_moved", node)

    def about(self, question: Callable[..., Any], node: fx.Node, name: str) -> fx.Node:
        """A tensor of an interval. The walk itself only looks at the shapes of intervals."""
        return self.value(emit(self.outer, question, (node,), "exact", f"{node.name}_{name}"))

    def total(self, offsets: list[fx.Node]) -> fx.Node:
        """How far the rows can fall below the centres of their values: regions are independent, so all adds up."""
        return self.emit(linear_forms.total, (offsets,), "bounds", "rows_distance")

    def emit(
        self, target: Callable[..., Any], args: tuple, kind: str, name: str, origin: fx.Node | None = None
    ) -> fx.Node:
        return emit(self.graph, target, args, kind, name, origin)
