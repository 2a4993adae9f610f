"""Larger nodes that do what several did, with fewer intermediate tensors."""

from __future__ import annotations

from typing import Any

from torch import fx

from boundgraph import linear_forms, operator
from passes.graphs import also_nested, copy_into, emit, rebuilt


@also_nested
def linear_relu(module: fx.GraphModule) -> fx.GraphModule:
    """Fuse the relaxation of an activation with the linear layer below it.

    Before: `a_form = lower_through(form, relaxation)`, read by `<linear>.backward(a_form, x, weight, bias)` alone.
    After:  `<linear>.fused(form, relaxation, x, weight, bias)`: lines s z + t on z = W x + b are lines
            s (W x) + (s b + t), so the bias is folded into one number per neuron instead of a sum over coefficients.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        through = node.args[0] if node.args else None
        fused = operator.fused(node.target)
        if fused is None or not isinstance(through, fx.Node) or not _is_private_line(through):
            copy_into(graph, node, copies)
            continue
        args = fx.node.map_arg((*through.args, *node.args[1:]), lambda old: copies[old])
        copies[node] = emit(graph, fused, args, "form", node.name, node)
    for node in reversed(graph.nodes):  # what was fused has no reader left
        if node.target is linear_forms.lower_through and not node.users:
            graph.erase_node(node)
    return rebuilt(module, graph)


def _is_private_line(node: fx.Node) -> bool:
    return node.target is linear_forms.lower_through and len(node.users) == 1
