"""The second front end: `torch.export`, for models whose code depends on shapes that only an example input can show."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, export

from boundgraph.errors import CaptureError


def export_graph(
    model: nn.Module, constants: Any, example_inputs: tuple[Any, ...], tracing_error: Exception
) -> fx.Graph:
    """Export `model` with a free batch size and make it look like a traced graph: live attributes, plain inputs.

    Raises:
        CaptureError: the model decides on tensor values, which no graph can hold.
    """
    # export would take a batch of 1 for the constant 1
    inputs = tuple(_at_least_two(value) for value in example_inputs)
    shapes = tuple({0: Dim.AUTO} if isinstance(value, Tensor) and value.dim() else None for value in inputs)
    try:
        exported = export(model, inputs, dynamic_shapes=shapes).module()
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} can be captured neither by tracing ({_first_line(tracing_error)})\n"
            f"  nor by torch.export ({_first_line(error)}).\n"
            "  A decision on tensor values has no bounds: write it with torch.where on a constant condition, or "
            "register it as an operator."
        ) from error
    return _as_traced(exported, constants)


def _at_least_two(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dim() and value.shape[0] == 1:
        return value.repeat(2, *[1] * (value.dim() - 1))
    return value


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def _as_traced(exported: fx.GraphModule, constants: Any) -> fx.Graph:
    """Copy the exported graph: weights become `model.<name>`, lifted tensors constants, guards and wrappers go."""
    known = {name for name, _ in [*exported.named_parameters(remove_duplicate=False), *exported.named_buffers()]}
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in exported.graph.nodes:
        if node.op == "call_module":  # the guards on example shapes
            continue
        if node.op == "output":
            graph.output(_single(node.args[0], copies))
            continue
        copies[node] = graph.node_copy(node, lambda old: copies[old])
        if node.op == "get_attr":
            value = torch.fx.graph_module._get_attr(exported, node.target)
            is_state = node.target in known and not str(node.target).startswith("_")
            copies[node].target = f"model.{node.target}" if is_state else constants.add(value)
    return graph


def _single(result: Any, copies: dict[fx.Node, fx.Node]) -> Any:
    if isinstance(result, (tuple, list)) and len(result) == 1:
        result = result[0]
    return copies[result] if isinstance(result, fx.Node) else result
