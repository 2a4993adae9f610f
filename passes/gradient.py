"""The coefficient walk of a graph, cut out and differentiated: one graph forward, one graph backward.

Once all relaxations are given, the walk is a chain of products: rows times lines times weights times lines ... Autograd
would keep every factor of every product. A graph of its own keeps the coefficients above and below each relaxation, and
works out the rest again.
"""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import fx
from torch.fx._lazy_graph_module import _LazyGraphModule

from boundgraph import linear_forms, regions
from boundgraph.capture import graph_module
from boundgraph.explicit import ExplicitWalk, run
from boundgraph.gradients import gradient_of
from passes.graphs import (
    add_input,
    ancestors,
    constants_of,
    copy_into,
    emit,
    has_examples,
    kind,
    mapped,
    model_of,
    node_argument,
    reached_from,
    walks_of,
)


class Outlined(NamedTuple):
    """A graph whose walks are one node each, and these walks."""

    module: fx.GraphModule
    walks: tuple[ExplicitWalk, ...]


def explicit(module: fx.GraphModule) -> Outlined:
    """Cut the walks out of an emitted graph, and join each with the graph of its gradient.

    Before: a graph that may hold walks from `rows_form` to `rows_distance`, one for each output.
    After:  a walk is one call, `rows_distance`, of an `ExplicitWalk`, given beside the graph. A graph without a walk,
            or with one that asks regions for more than their radii, stays as it is.
    """
    nodes = list(module.graph.nodes)
    ends = [node for node in nodes if node.target is linear_forms.total]
    if not ends or any(node.target is regions.minimum for node in nodes):
        return Outlined(module, ())
    cuts = {end: _cut(module, nodes, end) for end in ends}
    inside = {node for cut in cuts.values() for node in cut.steps}
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    parts: dict[str, torch.nn.Module] = {**walks_of(module)}
    for node in nodes:
        if node in cuts:
            held = graph.create_node("get_attr", "rows_walk", name="rows_walk")
            held.target, held.meta["kind"] = held.name, "walk"
            parts[held.name] = cuts[node].walk
            copies[node] = emit(graph, run, (held, [copies[n] for n in cuts[node].captured]), "bounds", node.name)
        elif node not in inside:
            copy_into(graph, node, copies)
    outlined = graph_module(graph, model_of(module), constants_of(module), parts)
    return Outlined(outlined, tuple(cut.walk for cut in cuts.values()))


class Cut(NamedTuple):
    walk: ExplicitWalk
    steps: list[fx.Node]  # from the first to its end
    captured: list[fx.Node]  # what they read, the rows first


def _cut(module: fx.GraphModule, nodes: list[fx.Node], end: fx.Node) -> Cut:
    needed = ancestors(end) | {end}
    start = next(node for node in nodes if node.target is linear_forms.select_sides and node in needed)
    reached = reached_from(module.graph, [start], blocked=lambda node: False)
    steps = [node for node in nodes if node in needed and node in reached and node is not start]
    inside = set(steps)
    captured = list(dict.fromkeys(s for node in steps for s in node.all_input_nodes if s not in inside))
    captured = [start, *(node for node in captured if node is not start)]
    backward = _backward(steps, captured)
    walk = ExplicitWalk(
        _module(_forward(steps, captured, [])),
        _module(_forward(steps, captured, backward.residuals)),
        _module(backward.graph),
        tuple(map(has_examples, captured)),
    )
    return Cut(walk, steps, captured)


def _module(graph: fx.Graph) -> fx.GraphModule:
    return _LazyGraphModule(torch.nn.Module(), graph)


def _forward(steps: list[fx.Node], captured: list[fx.Node], residuals: list[fx.Node]) -> fx.Graph:
    """The walk alone: (*captured) -> its result, and what the gradient will ask for."""
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {node: _input(graph, node) for node in captured}
    for node in steps:
        copy_into(graph, node, copies)
    graph.output((copies[steps[-1]], [copies[node] for node in residuals]))
    return graph


def _input(graph: fx.Graph, node: fx.Node) -> fx.Node:
    copy = add_input(graph, node.name)
    copy.meta.update(node.meta)
    return copy


class Backward(NamedTuple):
    graph: fx.Graph
    residuals: list[fx.Node]  # nodes of the walk whose values the gradient reads


def _backward(steps: list[fx.Node], captured: list[fx.Node]) -> Backward:
    """The gradient of the walk: (upstream, captured, residuals) -> gradients of what is captured."""
    graph = fx.Graph()
    upstream = add_input(graph, "upstream")
    known: dict[fx.Node, fx.Node] = {node: _input(graph, node) for node in captured}
    residuals: list[fx.Node] = []

    def value(node: fx.Node) -> fx.Node:
        if node not in known:
            with graph.inserting_after(known[residuals[-1] if residuals else captured[-1]]):
                known[node] = _input(graph, node)
            residuals.append(node)
        return known[node]

    received: dict[fx.Node, Any] = {steps[-1]: upstream}  # of a node that gives several values: by position

    def give(node: fx.Node, gradient: Any) -> None:
        if node in received:
            gradient = emit(graph, accumulated, (received[node], gradient), "form", f"{node.name}_gradient")
        received[node] = gradient

    for node in reversed(steps):
        if (arriving := received.get(node)) is None:
            continue
        if isinstance(arriving, dict):
            arriving = [arriving[i] for i in sorted(arriving)]
        if node.target is python_operator.getitem:
            parts = received.setdefault(node_argument(node), {})
            parts[node.args[1]] = arriving
        elif node.target in (linear_forms.total, linear_forms.add):
            for source in node.all_input_nodes:
                give(source, arriving)
        else:
            assert callable(node.target)
            gradient = gradient_of(node.target)
            first = value(node_argument(node)) if getattr(gradient, "needs_coefficients", True) else None
            args = (arriving, first, *mapped(node.args[1:], value))
            found = emit(graph, gradient, args, "form", f"{node.name}_gradients", node)
            for position, argument in enumerate(node.args):
                _distribute(graph, found, position, argument, give)
    graph.output([received.get(node) for node in captured])
    return Backward(graph, residuals)


def _distribute(
    graph: fx.Graph, found: fx.Node, position: int, argument: Any, give: Callable[[fx.Node, Any], None]
) -> None:
    """Hand each argument of a step its part of the gradient; shapes and options have none."""
    if isinstance(argument, fx.Node):
        if kind(argument) != "interval":
            give(argument, emit(graph, python_operator.getitem, (found, position), "form", f"{argument.name}_gradient"))
    elif isinstance(argument, list | tuple) and any(isinstance(part, fx.Node) for part in argument):
        several = emit(graph, python_operator.getitem, (found, position), "form", f"{found.name}_parts")
        for i, part in enumerate(argument):
            _distribute(graph, several, i, part, give)


def accumulated(first: Any, second: Any) -> Any:
    """The sum of two gradients of one value, which may be a relaxation, and either may be None."""
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, torch.Tensor):
        return first + second
    return type(first)(*(accumulated(a, b) for a, b in zip(first, second, strict=True)))
