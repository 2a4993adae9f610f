"""Symbolic tracing that keeps a model's weights, buffers and constants as references and leaves the model as it was."""

from __future__ import annotations

import copy
import operator as python_operator
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from boundgraph.errors import CaptureError
from boundgraph.layers.registry import call_of
from boundgraph.locations import user_frame
from boundgraph.operator import Several, rule_of
from boundgraph.structures import Structure, flattened
from boundgraph.whole_functions import whole_functions


class Constants(nn.Module):
    """Tensors the model makes while it is traced; they follow `.to()` but are no part of the state."""

    def add(self, tensor: Tensor) -> str:
        name = f"c{len(self._buffers)}"
        self.register_buffer(name, tensor.detach().clone(), persistent=False)
        return f"constants.{name}"


class _LiveTracer(fx.Tracer):
    """Traces a model whose weights, buffers and constants stay references into `model` and `constants`."""

    def __init__(self, constants: Constants, inputs: Sequence[str]) -> None:
        super().__init__()
        self.constants = constants
        self.inputs = inputs
        self._names: dict[int, str] = {}

    def create_node(self, *arguments: Any, **options: Any) -> fx.Node:
        """The node, with the lines of code that made it. (fx's own record of them loads the whole of torch.compile.)"""
        node = super().create_node(*arguments, **options)
        node.stack_trace = "".join(traceback.format_list(traceback.extract_stack()[:-1]))
        return node

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        # a shared tensor keeps its first name, so shared weights become one node
        tensors = [*root.named_parameters(), *root.named_buffers()]
        self._names = {id(tensor): name for name, tensor in tensors}
        return super().trace(root, concrete_args)

    def path_of_module(self, mod: nn.Module) -> str:
        return super().path_of_module(mod).removeprefix("model").removeprefix(".")

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """Placeholders for the inputs; optional arguments beyond them keep their defaults, so that `if mask is None`
        is decided as in an ordinary call."""
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in self.inputs)]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """A loop over parts whose number is known."""
        rule = rule_of(obj.node.target)
        if isinstance(rule, Several):
            count = rule.adapters[obj.node.target](*obj.node.args, **obj.node.kwargs).count
            if count is not None:
                arguments = [(obj, number) for number in range(count)]
                return iter(
                    [self.create_proxy("call_function", python_operator.getitem, each, {}) for each in arguments]
                )
        return super().iter(obj)

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
            # each use keeps the numbers of its moment: code may write to the tensor between uses
            return self.create_node("get_attr", self.constants.add(a), (), {})
        return super().create_arg(a)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        output = super().call_module(m, call_of(m, forward), args, kwargs)
        if _is_library(m) and isinstance(output, fx.Proxy):
            output.node.meta.setdefault("layer", _layer_name(self.path_of_module(m), m))
        return output


RANDOM_METHODS = frozenset(
    {
        "uniform_",
        "normal_",
        "bernoulli_",
        "random_",
        "exponential_",
        "log_normal_",
        "cauchy_",
        "geometric_",
        "bernoulli",
    }
)
_RANDOM_FUNCTIONS = (
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli",
    "multinomial", "poisson",
)  # fmt: skip
_RANDOM = frozenset(getattr(Tensor, name) for name in RANDOM_METHODS) | frozenset(
    getattr(torch, name) for name in _RANDOM_FUNCTIONS
)


class _NoDraws(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func in _RANDOM:
            _refuse_randomness(func.__name__)
        return func(*args, **(kwargs or {}))


@contextmanager
def no_randomness() -> Iterator[None]:
    """Refuse random numbers while tracing: they would be drawn once and become constants of the graph."""
    before = random.getstate(), str(numpy.random.get_state())
    with _NoDraws():
        yield
    if before != (random.getstate(), str(numpy.random.get_state())):
        random.setstate(before[0])
        _refuse_randomness("from Python's or NumPy's generator")


def _refuse_randomness(source: str) -> NoReturn:
    where = user_frame(traceback.extract_stack())
    raise CaptureError(
        f"forward draws random numbers ({source}); bounds need a fixed function: call .eval(), or pass the random "
        f"tensor in as an input\n  at {where or 'an unknown place'}"
    )


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put back every attribute of the model afterwards, and the content of its lists, dicts and tensors: code that is
    traced may assign to `self`, and what it assigns are stand-ins.

    Raises:
        CaptureError: forward writes to a tensor of the model past the tracer, so its graph would be of one moment.
    """
    saved = [(module, dict(vars(module))) for module in model.modules()]
    contents = [
        (container, copy.copy(container))
        for _, attributes in saved
        for container in attributes.values()
        if isinstance(container, list | dict | set)
    ]
    held = [tensor for module, attributes in saved for tensor in (*attributes.values(), *module._buffers.values())]
    tensors = [(t, t._version, t.detach().clone()) for t in held if isinstance(t, Tensor) and not t.is_inference()]
    try:
        yield
        if any(tensor._version != version for tensor, version, _ in tensors):
            raise CaptureError(
                f"forward of {type(model).__name__} writes to a tensor that the model holds as an attribute; bounds "
                "are a pure function of weights and inputs, so do this outside forward"
            )
    finally:
        with torch.no_grad():
            for tensor, version, numbers in tensors:
                if tensor._version != version:
                    tensor.copy_(numbers)
        for module, attributes in saved:
            vars(module).clear()
            vars(module).update(attributes)
        for container, content in contents:
            container.clear()
            container.extend(content) if isinstance(container, list) else container.update(content)


class Root(nn.Module):
    """Calls the model, so that its own hooks and a forward set on the instance are traced too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> Any:
        return self.model(*inputs)


class _Flat(Root):
    """Returns the values of the model's result, and keeps how they are arranged."""

    structure: Structure | None = None

    def forward(self, *inputs: Any) -> Any:
        values, self.structure = flattened(self.model(*inputs))
        return values


def trace(model: nn.Module, constants: Constants, inputs: Sequence[str]) -> fx.Graph:
    """The graph of `model` with the named inputs as placeholders; the model stays as it is."""
    root = _Flat(model)
    with undisturbed(model), no_randomness(), whole_functions(model):
        graph = _LiveTracer(constants, inputs).trace(root)
    graph.output_node().meta["structure"] = root.structure
    return graph


# what asks a tensor for numbers, and modules whose functions make numbers of numbers
_NUMBERS = frozenset({"shape", "size", "dim", "ndim", "ndimension", "numel", "nelement", "stride", "item", "tolist"})
_ARITHMETIC = frozenset({"_operator", "builtins", "math"})


def _is_number(node: fx.Node) -> bool:
    """Whether a node is a number, or a tuple of numbers."""
    if (node.args[1] if node.target is getattr else getattr(node.target, "__name__", node.target)) in _NUMBERS:
        return True
    operands = node.all_input_nodes
    return getattr(node.target, "__module__", "") in _ARITHMETIC and bool(operands) and all(map(_is_number, operands))


class _Proxy(fx.Proxy):
    """Records `x += y` as what it is: fx by itself would write `x + y`, which is wrong when x is a tensor with a second
    name. Numbers, which nothing changes, get a new value under the one name."""

    def __iadd__(self, other: Any) -> Any:
        return self._written(python_operator.iadd, python_operator.add, other)

    def __isub__(self, other: Any) -> Any:
        return self._written(python_operator.isub, python_operator.sub, other)

    def __imul__(self, other: Any) -> Any:
        return self._written(python_operator.imul, python_operator.mul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._written(python_operator.itruediv, python_operator.truediv, other)

    def _written(self, in_place: Any, anew: Any, other: Any) -> Any:
        target = anew if _is_number(self.node) else in_place
        return self.tracer.create_proxy("call_function", target, (self, other), {})


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


def _layer_name(path: str, layer: nn.Module) -> str:
    """`block_0_conv` for block.0.conv; `relu_1` for child 1 of a sequence, since names do not begin with digits."""
    name = path.replace(".", "_")
    return f"{type(layer).__name__.lower()}_{name}" if name[:1].isdigit() or not name else name


def _is_library(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn")
