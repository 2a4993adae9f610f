"""From a module to a captured graph, with nothing baked in that could change.

`torch.fx` tracing comes first: it needs no example input, keeps the names of layers and leaves the batch size open.
It traces *through* `torch.nn` modules, so that a module, its functional form and a hand-written formula arrive as the
same calls, and reads parameters and buffers through the live model (`model.fc1.weight`), never as copies. Where tracing
cannot follow, `torch.export` takes over if example inputs were given.
"""

from __future__ import annotations

import inspect
import keyword
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx._lazy_graph_module import _LazyGraphModule
from torch.fx.proxy import TraceError
from torch.utils._pytree import tree_leaves

from boundgraph.errors import CaptureError
from boundgraph.locations import user_frame
from boundgraph.structures import NoStructureError
from boundgraph.tracing import Constants, Root, no_randomness, trace, undisturbed

__all__ = ["Constants", "capture", "check_capture", "graph_module", "reads_metadata_only"]


def capture(model: nn.Module, constants: Constants, example_inputs: Sequence[Any] | None = None) -> fx.Graph:
    """Trace `model` in its present mode.

    Inputs are the arguments of `forward` without a default, or as many as there are example inputs.

    Raises:
        CaptureError: the model branches on tensor values or does something else a graph cannot hold.
    """
    try:
        graph = trace(model, constants, _input_names(model, example_inputs))
    except CaptureError:
        raise  # nothing that example inputs could cure
    except NoStructureError as error:
        raise CaptureError(f"{type(model).__name__} returns {error}") from error
    except Exception as error:
        if example_inputs is None:
            raise CaptureError(_tracing_failed(model, error)) from error
        from boundgraph.export import export_graph  # takes a second to import, which few models need

        with undisturbed(model), no_randomness():
            graph = export_graph(model, constants, tuple(example_inputs), tracing_error=error)
    _require_writable_names(graph, model)
    return _named_by_layer(graph)


def _input_names(model: nn.Module, example_inputs: Sequence[Any] | None) -> list[str]:
    """Names of the arguments of forward that are inputs; the others keep their defaults, so that `if mask is None` is
    decided as in an ordinary call."""
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        raise CaptureError(
            f"{type(model).__name__}.forward takes required keyword arguments; give its inputs by position"
        )
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    if rest is not None and example_inputs is None:
        raise CaptureError(
            f"{type(model).__name__}.forward takes *{rest}; say how many inputs there are by "
            "boundgraph.compile(model, example_inputs=(x, ...))"
        )
    required = sum(p.default is p.empty for p in positional)
    given = 0 if example_inputs is None else len(example_inputs)
    if (given > len(positional) and rest is None) or (example_inputs is not None and given < required):
        raise CaptureError(f"{type(model).__name__} takes {required} input(s), but example_inputs has {given}")
    names = [p.name for p in positional[: max(required, given)]]
    return [*names, *(f"{rest}_{number}" for number in range(given - len(names)))]


def _tracing_failed(model: nn.Module, error: Exception) -> str:
    where = user_frame(traceback.extract_tb(error.__traceback__))
    lines = [f"{type(model).__name__} cannot be traced symbolically: {error}"]
    if where:
        lines.append(f"  at {where}")
    if isinstance(error, TraceError) or "control flow" in str(error):
        lines.append(
            "  The code decides on something that is only known when the model runs. A decision on tensor *values* has "
            "no bounds;\n  write it with torch.where on a constant condition, or register it as an operator."
        )
    lines.append(
        "  If it depends on shapes only, pass example_inputs=(x, ...) to boundgraph.compile: torch.export then traces "
        "with real shapes."
    )
    return "\n".join(lines)


def _require_writable_names(graph: fx.Graph, model: nn.Module) -> None:
    """The graph is written out as Python, where `self.model.import` is no expression."""
    for node in graph.find_nodes(op="get_attr"):
        words = [word for word in str(node.target).split(".") if keyword.iskeyword(word)]
        if words:
            raise CaptureError(
                f"{type(model).__name__} has a layer or tensor named {words[0]!r} ({node.target}), a Python keyword; "
                "give it another name"
            )


def _named_by_layer(graph: fx.Graph) -> fx.Graph:
    """Call the result of a layer by the layer: `fc1` instead of `linear`."""
    renamed = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        name = node.meta.get("layer") or node.name
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), lambda old: copies[old])
        copies[node] = renamed.create_node(node.op, node.target, args, kwargs, name=name)
        copies[node].meta.update(node.meta)
    return renamed


def graph_module(
    graph: fx.Graph, model: nn.Module, constants: Constants, parts: Mapping[str, nn.Module] | None = None
) -> fx.GraphModule:
    """A GraphModule whose `model` and `constants` are the given objects themselves, so weights have one owner."""
    root = nn.Module()
    root.model, root.constants = model, constants
    for name, part in (parts or {}).items():
        root.add_module(name, part)
    module = _LazyGraphModule(root, graph)  # most stages are never run: their code is written when it is
    # GraphModule copies the containers of the attributes it uses; put the real ones back
    module.model, module.constants = model, constants
    return module


def check_capture(module: fx.GraphModule, model: nn.Module, example_inputs: Sequence[Any]) -> None:
    """Hold the captured graph against the model on the example inputs: tracing can be silently wrong.

    Raises:
        CaptureError: the two disagree by more than rounding.
    """
    state = {f"model.{name}": tensor for name, tensor in model.named_buffers()}
    with torch.no_grad(), undisturbed(model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # dropout, if any, draws the same numbers in both
        expected = torch.func.functional_call(Root(model), _copies(state), tuple(_copies(example_inputs)))
        torch.manual_seed(0)
        found = torch.func.functional_call(module, _copies(state), tuple(_copies(example_inputs)))
    found, expected = ([leaf for leaf in tree_leaves(r) if isinstance(leaf, Tensor)] for r in (found, expected))
    different = [(one, other) for one, other in zip(found, expected, strict=False) if not _agree(one, other)]
    if different or len(found) != len(expected):
        shapes = ", ".join(f"shapes {tuple(one.shape)} and {tuple(other.shape)}" for one, other in different[:1])
        raise CaptureError(
            f"the captured graph of {type(model).__name__} does not compute what the model computes on example_inputs "
            f"({shapes or f'{len(found)} and {len(expected)} tensors'}). Tracing follows `isinstance(x, torch.Tensor)` "
            "and similar tests down the wrong branch; move such tests out of forward."
        )


def _agree(one: Tensor, other: Tensor) -> bool:
    """Up to rounding."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def _copies(values: Any) -> Any:
    """The model may write to its inputs and its buffers."""
    return torch.utils._pytree.tree_map_only(Tensor, torch.clone, values)


METADATA: Mapping[str, frozenset[Any]] = {
    "call_method": frozenset({"size", "dim", "ndimension", "numel", "nelement", "stride", "new_zeros", "new_ones"}),
    "attributes": frozenset({"shape", "dtype", "device", "ndim", "layout", "requires_grad"}),
    "call_function": frozenset(
        {
            torch.zeros_like, torch.ones_like, torch.numel, torch.ops.aten.sym_size.int,
            torch.ops.aten.zeros_like.default, torch.ops.aten.ones_like.default, torch.ops.aten.new_zeros.default,
            torch.ops.aten.new_ones.default,
        }
    ),
}  # fmt: skip
"""Calls that look at a tensor's shape, dtype or device only: exact even where the tensor is perturbed."""


_FILLED = frozenset({"new_full", torch.full_like, torch.ops.aten.full_like.default, torch.ops.aten.new_full.default})
"""Such calls too, if what they fill a tensor with is a number."""


def reads_metadata_only(node: fx.Node) -> bool:
    if node.target in _FILLED:
        filling = node.kwargs.get("fill_value", node.args[-1])
        return not isinstance(filling, fx.Node)
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in METADATA["attributes"]
    return node.target in METADATA.get(node.op, frozenset())
