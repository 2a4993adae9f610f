"""No repeats, nothing unused."""

from __future__ import annotations

from typing import Any

from torch import fx

from passes.graphs import copy_into, kind, rebuilt, request_of


def share_repeats(module: fx.GraphModule) -> fx.GraphModule:
    """Common subexpressions: equal calls on equal arguments are one node. All our calls are pure.

    Before: several nodes may compute the same value (weights read twice, relaxations of one interval, C W).
    After:  each value is computed once.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    seen: dict[Any, fx.Node] = {}
    for node in module.graph.nodes:
        if node.op in ("placeholder", "output"):
            copy_into(graph, node, copies)
            continue
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), lambda old: copies[old])
        key = (node.op, node.target, _hashable(args), _hashable(kwargs))
        if key not in seen:
            seen[key] = copy_into(graph, node, copies)
        copies[node] = seen[key]
    return rebuilt(module, graph)


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_hashable, value))
    if isinstance(value, dict):
        return tuple((key, _hashable(item)) for key, item in value.items())
    # 1, 1.0 and True are equal but mean different arguments; slices are not hashable
    return (type(value).__name__, value if not isinstance(value, slice) else str(value))


def drop_unused(module: fx.GraphModule) -> fx.GraphModule:
    """Dead bounds cost nothing: keep what the output depends on.

    Before: nodes whose value nobody reads, such as the interval of a layer that no relaxation rests on.
    After:  none, unless all intervals were requested.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    keep_all = request_of(module).keep_intervals
    needed: set[fx.Node] = set()
    for node in reversed(module.graph.nodes):
        wanted = node.op in ("placeholder", "output") or (keep_all and kind(node) == "interval")
        if wanted or node in needed:
            needed.add(node)
            needed.update(node.all_input_nodes)
    for node in module.graph.nodes:
        if node in needed:
            copy_into(graph, node, copies)
    return rebuilt(module, graph)
