"""Masks of attention, as people write them: minus infinity among the scores, or added to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from boundgraph.ops import add, masked_softmax, softmax, where
from passes.graphs import copy_into, emit, kind, node_argument, rebuilt


def apart(module: fx.GraphModule) -> fx.GraphModule:
    """Keep masks apart from the scores that they hide: minus infinity is no number to compute bounds with.

    Before: perturbed nodes marked; softmax along the last dimension of scores in which an exact mask puts minus
            infinity (or the least number there is), or to which an exact tensor is added.
    After:  the softmax of the scores themselves under that mask, which computes the same.
    """
    if not any(_masked(node) for node in module.graph.nodes):
        return module
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        found = _masked(node)
        if found is None:
            copy_into(graph, node, copies)
            continue
        scores, view, args = found
        args = fx.node.map_arg(args, copies.__getitem__)
        dtype = emit(graph, getattr, (copies[scores], "dtype"), "exact", f"{node.name}_dtype", node)
        mask = emit(graph, view, (*args, dtype), "exact", f"{node.name}_mask", node)
        copies[node] = emit(graph, masked_softmax.forward, (copies[scores], mask), "perturbed", node.name, node)
    return rebuilt(module, graph)


def _masked(node: fx.Node) -> tuple[fx.Node, Any, tuple] | None:
    """The scores of a softmax, and how to make the mask for them."""
    if node.target is not softmax.forward or kind(node) != "perturbed" or node.args[1] != -1:
        return None
    source = node_argument(node)
    args: tuple[Any, ...] = source.args
    if source.target is add.forward and args[2:] in ((), (1,)):
        for scores, mask in (args[:2], args[1::-1]):
            if _is_bounded(scores) and isinstance(mask, fx.Node) and not _is_bounded(mask):
                return scores, masked_softmax.summand, (mask,)
    if source.target is where.forward:
        condition, x, y = args
        for scores, value, hides in ((y, x, True), (x, y, False)):
            if _is_bounded(scores) and isinstance(value, int | float) and value <= torch.finfo(torch.float32).min / 2:
                return scores, masked_softmax.summand_where, (condition, hides, float(value))
    return None


def _is_bounded(value: Any) -> bool:
    return isinstance(value, fx.Node) and kind(value) in ("perturbed", "region")
