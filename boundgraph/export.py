"""The second front end: `torch.export`, for models whose code depends on shapes that only an example input can show."""

from __future__ import annotations

import traceback
from typing import Any

import sympy
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, export

from boundgraph.errors import CaptureError
from boundgraph.layers.registry import written_out
from boundgraph.locations import user_frame


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
        with written_out(model):
            exported = export(model, inputs, dynamic_shapes=shapes).module()
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} can be captured neither by tracing ({_first_line(tracing_error)})\n"
            f"  at {user_frame(traceback.extract_tb(tracing_error.__traceback__)) or 'an unknown place'}\n"
            f"  nor by torch.export ({_first_line(error)}).\n"
            "  A decision on tensor values has no bounds: write it with torch.where on a constant condition, or "
            "register it as an operator."
        ) from error
    return _as_traced(exported, model, constants)


def _at_least_two(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dim() and value.shape[0] == 1:
        return value.repeat(2, *[1] * (value.dim() - 1))
    return value


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def _as_traced(exported: fx.GraphModule, model: nn.Module, constants: Any) -> fx.Graph:
    """Copy the exported graph: weights become `model.<name>`, lifted tensors constants, guards and wrappers go."""
    own = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    known = {name for name, _ in own}
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
            if not isinstance(value, Tensor):
                raise CaptureError(f"{type(model).__name__} holds a {type(value).__name__}, which has no bounds")
            copies[node].target = f"model.{node.target}" if node.target in known else constants.add(value)
        if node.op == "placeholder":
            copies[node].meta["limits"] = _limits(node)
    return graph


def _limits(node: fx.Node) -> tuple[tuple[int, float], ...] | None:
    """For each dimension of an input the sizes for which the exported graph is the model."""
    value = node.meta.get("val")
    return tuple(map(_range, value.shape)) if isinstance(value, Tensor) else None


_RANGES = (sympy.Ge, sympy.Gt, sympy.Le, sympy.Lt)


def _range(size: Any) -> tuple[int, float]:
    if isinstance(size, int):
        return size, size
    environment, symbols = size.node.shape_env, size.node.expr.free_symbols
    decisions = [guard.expr for guard in environment.guards if guard.expr.free_symbols & symbols]
    if not all(isinstance(decision, _RANGES) for decision in decisions):  # such as: is the batch even?
        return size.node.hint, size.node.hint
    bounds = environment.bound_sympy(size.node.expr)
    # a lower end of 2 only says that the example had no batch of 1, and that one is compared with the model
    low = int(bounds.lower)
    return (low if low > 2 else 0), (float(bounds.upper) if bounds.upper.is_number else float("inf"))


def _single(result: Any, copies: dict[fx.Node, fx.Node]) -> Any:
    if isinstance(result, (tuple, list)) and len(result) == 1:
        result = result[0]
    return copies[result] if isinstance(result, fx.Node) else result
