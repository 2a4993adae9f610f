"""From a module to a traced graph, with nothing baked in that could change.

`torch.fx` tracing comes first: it needs no example input, keeps the names of layers and leaves the batch size open.
It traces *through* `torch.nn` modules, so that a module, its functional form and a hand-written formula arrive as the
same calls, and reads parameters and buffers through the live model (`model.fc1.weight`), never as copies. Where tracing
cannot follow, `torch.export` takes over if example inputs were given.
"""

from __future__ import annotations

import functools
import inspect
import operator as python_operator
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from boundgraph.errors import CaptureError
from boundgraph.locations import user_frame


class Constants(nn.Module):
    """Tensors the model makes while it is traced; they follow `.to()` but are no part of the state."""

    def add(self, tensor: Tensor) -> str:
        name = f"c{len(self._buffers)}"
        self.register_buffer(name, tensor.detach(), persistent=False)
        return f"constants.{name}"


class _LiveTracer(fx.Tracer):
    """Traces a model whose weights, buffers and constants stay references into `model` and `constants`."""

    def __init__(self, constants: Constants, inputs: int) -> None:
        super().__init__()
        self.record_stack_traces = True
        self.constants = constants
        self.inputs = inputs
        self._names: dict[int, str] = {}
        self._known_constants: dict[int, str] = {}
        self._keep_alive: list[Tensor] = []

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        # a shared tensor keeps its first name, so shared weights become one node
        tensors = [*root.named_parameters(), *root.named_buffers()]
        self._names = {id(tensor): f"model.{name}" for name, tensor in tensors}
        return super().trace(root, concrete_args)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """Placeholders for the inputs; optional arguments beyond them keep their defaults, so that `if mask is None`
        is decided as in an ordinary call."""
        names = list(inspect.signature(root_fn).parameters)[1 : 1 + self.inputs]
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in names)]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if not isinstance(attr_val, Tensor) or id(attr_val) not in self._names:
            return attr_val
        name = self._names[id(attr_val)]
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = _KnownTensorProxy(self.create_node("get_attr", name, (), {}), self, attr_val)
        return parameter_proxy_cache[name]

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor):
            if id(a) in self._names:
                return self.create_node("get_attr", self._names[id(a)], (), {})
            if id(a) not in self._known_constants:
                self._known_constants[id(a)] = self.constants.add(a)
                self._keep_alive.append(a)  # an id is only unique while its tensor lives
            return self.create_node("get_attr", self._known_constants[id(a)], (), {})
        return super().create_arg(a)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and not (m._forward_hooks or m._forward_pre_hooks):
            forward = functools.partial(_batch_norm, m)
        output = super().call_module(m, forward, args, kwargs)
        if _is_library(m) and isinstance(output, fx.Proxy):
            output.node.meta.setdefault("layer", _layer_name(self.path_of_module(m), m))
        return output


_RANDOM = frozenset(
    getattr(Tensor, name) for name in ("uniform_", "normal_", "bernoulli_", "random_", "exponential_")
) | frozenset(
    getattr(torch, name)
    for name in ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal",
                 "bernoulli", "multinomial", "poisson")
)  # fmt: skip


class _NoRandomness(TorchFunctionMode):
    """Refuses random numbers while tracing: they would be drawn once and become constants of the graph."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func in _RANDOM:
            raise CaptureError(
                f"forward draws random numbers ({func.__name__}); bounds need a fixed function: call .eval(), or pass "
                "the random tensor in as an input"
            )
        return func(*args, **(kwargs or {}))


class _Proxy(fx.Proxy):
    """Records `x += y` as what it is: fx by itself would write `x + y`, which is wrong when x has a second name."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", python_operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", python_operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", python_operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", python_operator.itruediv, (self, other), {})


class _KnownTensorProxy(_Proxy):
    """A weight or buffer: its shape is known, so code may branch on it; its numbers are not."""

    _tensor: Tensor

    def __init__(self, node: fx.Node, tracer: fx.Tracer, tensor: Tensor) -> None:
        super().__init__(node, tracer)
        object.__setattr__(self, "_tensor", tensor)

    @property
    def shape(self) -> torch.Size:
        return self._tensor.shape

    @property
    def ndim(self) -> int:
        return self._tensor.ndim

    def size(self, dim: int | None = None) -> Any:
        return self._tensor.size() if dim is None else self._tensor.size(dim)

    def dim(self) -> int:
        return self._tensor.dim()

    def numel(self) -> int:
        return self._tensor.numel()


def _batch_norm(layer: Any, x: Any) -> Any:
    """What a BatchNorm layer computes, without its shape checks (they branch on the input) and its batch counter."""
    use_batch_statistics = layer.training or layer.running_mean is None
    return F.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, use_batch_statistics, 0.0, layer.eps
    )


def _layer_name(path: str, layer: nn.Module) -> str:
    """`block_0_conv` for block.0.conv; `relu_1` for child 1 of a sequence, since names do not begin with digits."""
    name = path.replace(".", "_")
    return f"{type(layer).__name__.lower()}_{name}" if name[:1].isdigit() or not name else name


def _is_library(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn")


def capture(model: nn.Module, constants: Constants, example_inputs: Sequence[Any] | None = None) -> fx.Graph:
    """Trace `model` in its present mode.

    Inputs are the arguments of `forward` without a default, or as many as there are example inputs.

    Raises:
        CaptureError: the model branches on tensor values or does something else a graph cannot hold.
    """
    try:
        with _NoRandomness():
            graph = _LiveTracer(constants, _number_of_inputs(model, example_inputs)).trace(model)
    except Exception as error:
        if example_inputs is None:
            raise CaptureError(_tracing_failed(model, error)) from error
        from boundgraph.export import export_graph  # takes a second to import, which few models need

        graph = export_graph(model, constants, tuple(example_inputs), tracing_error=error)
    _require_single_tensor_output(graph, model)
    return _named_by_layer(graph)


def _number_of_inputs(model: nn.Module, example_inputs: Sequence[Any] | None) -> int:
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL or (p.kind is p.KEYWORD_ONLY and p.default is p.empty) for p in parameters):
        raise CaptureError(
            f"{type(model).__name__}.forward takes *args or required keyword arguments; give its inputs by position"
        )
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    given = 0 if example_inputs is None else len(example_inputs)
    if given > len(positional) or (example_inputs is not None and given < required):
        raise CaptureError(f"{type(model).__name__} takes {required} input(s), but example_inputs has {given}")
    return max(required, given)


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


def _require_single_tensor_output(graph: fx.Graph, model: nn.Module) -> None:
    result = graph.output_node().args[0]
    if not isinstance(result, fx.Node):
        raise CaptureError(
            f"{type(model).__name__} returns a {type(result).__name__}; boundgraph bounds models that return "
            "one tensor. Wrap the model in a module that returns the tensor you want bounds for."
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
    module = fx.GraphModule(root, graph)
    # GraphModule copies the containers of the attributes it uses; put the real ones back
    module.model, module.constants = model, constants
    return module


def check_capture(module: fx.GraphModule, model: nn.Module, example_inputs: Sequence[Any]) -> None:
    """Hold the captured graph against the model on the example inputs: tracing can be silently wrong.

    Raises:
        CaptureError: the two disagree by more than rounding.
    """
    with torch.no_grad():
        expected, found = model(*example_inputs), module(*example_inputs)
    if expected.shape != found.shape or not torch.allclose(expected, found, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise CaptureError(
            f"the captured graph of {type(model).__name__} does not compute what the model computes on example_inputs "
            f"(shapes {tuple(found.shape)} and {tuple(expected.shape)}). Tracing follows `isinstance(x, torch.Tensor)` "
            "and similar tests down the wrong branch; move such tests out of forward."
        )


METADATA: Mapping[str, frozenset[Any]] = {
    "call_method": frozenset({"size", "dim", "ndimension", "numel", "nelement", "stride", "new_zeros", "new_ones"}),
    "attributes": frozenset({"shape", "dtype", "device", "ndim", "layout", "requires_grad"}),
    "call_function": frozenset(
        {
            torch.zeros_like, torch.ones_like, torch.numel, torch.ops.aten.sym_size.int,
            torch.ops.aten.zeros_like.default, torch.ops.aten.ones_like.default,
        }
    ),
}  # fmt: skip
"""Calls that look at a tensor's shape, dtype or device only: exact even where the tensor is perturbed."""


def reads_metadata_only(node: fx.Node) -> bool:
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in METADATA["attributes"]
    if node.op == "call_function" and node.target is python_operator.getitem:
        return False
    return node.target in METADATA.get(node.op, frozenset())
