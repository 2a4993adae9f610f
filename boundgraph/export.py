"""The second front end: `torch.export`, for models whose code depends on shapes that only an example input can show."""

from __future__ import annotations

import traceback
from operator import getitem
from typing import Any

import sympy
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, export
from torch.utils._pytree import TreeSpec, tree_unflatten

from boundgraph.errors import CaptureError
from boundgraph.layers.registry import written_out
from boundgraph.locations import user_frame
from boundgraph.structures import NoStructureError, flattened


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
            exported = export(model, inputs, dynamic_shapes=shapes)
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} can be captured neither by tracing ({_first_line(tracing_error)})\n"
            f"  at {user_frame(traceback.extract_tb(tracing_error.__traceback__)) or 'an unknown place'}\n"
            f"  nor by torch.export ({_first_line(error)}).\n"
            "  A decision on tensor values has no bounds: write it with torch.where on a constant condition, or "
            "register it as an operator."
        ) from error
    return _as_traced(exported.module(), exported.call_spec.out_spec, model, constants)


def _at_least_two(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dim() and value.shape[0] == 1:
        return value.repeat(2, *[1] * (value.dim() - 1))
    return value


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def _as_traced(exported: fx.GraphModule, spec: TreeSpec, model: nn.Module, constants: Any) -> fx.Graph:
    """Copy the exported graph: weights become `model.<name>`, lifted tensors constants, guards and wrappers go."""
    traced = _Traced(model, constants)
    try:
        values, structure = flattened(tree_unflatten(traced.copy(exported, {}), spec))
    except NoStructureError as error:
        raise CaptureError(f"{type(model).__name__} returns {error}") from error
    traced.graph.output(values).meta["structure"] = structure
    return traced.graph


class _Traced:
    """Copies exported graphs into one that looks as if it had been traced."""

    def __init__(self, model: nn.Module, constants: Any) -> None:
        self.model, self.constants, self.graph = model, constants, fx.Graph()
        own = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        self.known = {name for name, _ in own}

    def copy(self, exported: fx.GraphModule, copies: dict[fx.Node, Any]) -> Any:
        """Append the nodes of `exported`; copies has what its placeholders stand for, if it is a region of another
        graph. Returns what it returns."""
        for node in exported.graph.nodes:
            if node.op == "output":
                return fx.node.map_arg(node.args[0], copies.__getitem__)
            if node in copies or _asserts(node):
                continue
            part = _region_of(node, exported)
            if part is not None:
                arguments = [copies[source] for source in node.all_input_nodes if source.target != part]
                region = getattr(exported, part)
                inputs = region.graph.find_nodes(op="placeholder")
                copies[node] = self.copy(region, dict(zip(inputs, arguments, strict=True)))
            elif node.target is getitem and not isinstance(copies[node.args[0]], fx.Node):
                copies[node] = copies[node.args[0]][node.args[1]]
            elif node.op != "get_attr" or not isinstance(getattr(exported, str(node.target), None), fx.GraphModule):
                copies[node] = self.copied(exported, node, copies)
        raise AssertionError("a graph without an output")

    def copied(self, exported: fx.GraphModule, node: fx.Node, copies: dict[fx.Node, Any]) -> fx.Node:
        copied = self.graph.node_copy(node, copies.__getitem__)
        if node.op == "get_attr":
            value = torch.fx.graph_module._get_attr(exported, str(node.target))
            if not isinstance(value, Tensor):
                raise CaptureError(f"{type(self.model).__name__} holds a {type(value).__name__}, which has no bounds")
            copied.target = f"model.{node.target}" if node.target in self.known else self.constants.add(value)
        if node.op == "placeholder":
            copied.meta["limits"] = _limits(node)
        return copied


def _asserts(node: fx.Node) -> bool:
    """Whether the node only checks something: the guards on example shapes, or metadata that the example has."""
    return node.op == "call_module" or str(node.target).startswith(("aten._assert", "aten.sym_constrain"))


def _region_of(node: fx.Node, exported: fx.GraphModule) -> str | None:
    """The name of the graph that runs without gradients, or without autocast, where the node is such a call."""
    name = getattr(node.target, "__name__", "")
    if name == "wrap_with_set_grad_enabled":
        return str(node.args[1].target)  # type: ignore[union-attr]
    if name == "wrap_with_autocast":
        _, _, enabled, _, region, *_ = node.args
        if enabled:
            raise CaptureError("autocast changes precision within the model, which has no bounds; run it without")
        return str(region.target)  # type: ignore[union-attr]
    return None


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
