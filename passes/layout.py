"""One memory format for images, their relaxations and their coefficients."""

from __future__ import annotations

from typing import Any

from torch import fx

from boundgraph.ops import conv
from passes.graphs import copy_into, rebuilt


def channels_last(module: fx.GraphModule) -> fx.GraphModule:
    """Keep images with channels last in memory, as fast convolutions want them.

    Before: memory formats as they happen to be; a first convolution, of few channels, returns channels first.
    After:  convolutions give their intervals with channels last. What is computed from an interval keeps its format,
            and coefficients take that of the interval they belong to, so kernels meet one format only.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        copied = copy_into(graph, node, copies)
        if node.target is conv.interval:
            copied.target = conv.interval_channels_last
    return rebuilt(module, graph)
