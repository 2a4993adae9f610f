"""The batch stays in dimension 0, also where a model moves it for a while.

Layers that take the length of a sequence first are called as `layer(x.transpose(0, 1)).transpose(0, 1)`, and matrix
products of all rows as `(x.reshape(-1, d) @ W).reshape(x.shape)`. What is done in between is done to vectors along the
last dimension, or to elements, so it may as well be done before the batch is moved, and the moves cancel.
"""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple, cast

from torch import fx

from boundgraph.capture import METADATA
from boundgraph.operator import Operator
from boundgraph.ops import batch_first as views
from boundgraph.ops import mul, permute, reshape
from passes.graphs import copy_into, emit, kind, mapped, node_arguments, operator_of, rebuilt


class Moved(NamedTuple):
    """A value of the model by the value before its batch was moved: turned, or merged with other dimensions."""

    node: fx.Node
    turned: bool


def restore(module: fx.GraphModule) -> fx.GraphModule:
    """Do before the batch is moved what is done while it is.

    Before: perturbed nodes marked; some swap dimensions 0 and 1, or reshape to (-1, size), which no bounds can follow.
    After:  element-wise operators and those along the last dimension are applied to the value before, and what reads it
            with the batch back in its place reads the result of that. A move that nothing undoes is left as it is.
    """
    restoring = _Restoring()
    for node in module.graph.nodes:
        restoring.copy(node)
    return rebuilt(module, restoring.graph) if restoring.has_moved else module


class _Restoring:
    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.copies: dict[fx.Node, Any] = {}
        self.moved: dict[fx.Node, Moved] = {}
        self.has_moved = False

    def copy(self, node: fx.Node) -> None:
        if self._by_moved_shape(node):
            return
        if kind(node) == "perturbed" and node.op == "call_function":
            result = self._kept(node)
            if isinstance(result, Moved):
                self.has_moved = True
                self.moved[node] = result
                return
            if result is not None:
                self.copies[node] = result
                return
        for source in node.all_input_nodes:
            self._written(source)
        copy_into(self.graph, node, self.copies)

    def _written(self, node: fx.Node) -> fx.Node:
        """The copy of a node that is read as it stands, so the move is made where it was put off."""
        if node not in self.copies:
            value, turned = self.moved[node]
            target, args = (permute.transpose, (value, 0, 1)) if turned else (reshape.flatten, (value, 0, -2))
            self.copies[node] = emit(self.graph, target, args, "perturbed", node.name, node)
        return self.copies[node]

    def _kept(self, node: fx.Node) -> Moved | fx.Node | None:
        """The value of a perturbed node with its batch first, if there is one to speak of."""
        moved = [self.moved[source] for source in node_arguments(node.args) if source in self.moved]
        if not moved:
            return self._entered(node)
        turned = moved[0].turned
        if any(other.turned != turned for other in moved):
            return None
        if turned and node.target in (permute.transpose, permute.forward):
            return self._turned_again(node, moved[0].node)
        if not turned and node.target is reshape.forward:
            return self._regrouped(node, moved[0].node)
        op = operator_of(node)
        assert op is not None
        return self._applied(op, node, turned)

    def _entered(self, node: fx.Node) -> Moved | fx.Node | None:
        """What moves the batch of a value that has it first."""
        x, *arguments = cast(tuple[Any, ...], node.args)
        if node.target is permute.transpose and _swaps_first(arguments):
            return Moved(self._emit(node, views.sequence, (self.copies[x],)), True)
        if node.target is permute.forward and _is_order(arguments[0]):
            return self._permuted(node, self.copies[x], tuple(arguments[0]))
        if node.target is reshape.forward and _merges(arguments[0]) and _comes_back(node):
            return Moved(self._emit(node, views.rows, (self.copies[x], self._argument(arguments[0][1]))), False)
        return None

    def _turned_again(self, node: fx.Node, value: fx.Node) -> Moved | fx.Node | None:
        arguments = node.args[1:]
        if node.target is permute.transpose:
            if _swaps_first(arguments):
                return value
            if _is_order(arguments) and 0 not in arguments and 1 not in arguments:
                return Moved(self._emit(node, permute.transpose, (value, *arguments)), True)
            return None
        if not _is_order(arguments[0]):
            return None
        return self._permuted(node, value, tuple({0: 1, 1: 0}.get(dim, dim) for dim in arguments[0]))  # type: ignore

    def _permuted(self, node: fx.Node, value: fx.Node, dims: tuple[int, ...]) -> Moved | fx.Node | None:
        """value.permute(dims), where that has its batch in dimension 0 or 1."""
        if dims.index(0) > 1 or len(dims) < 3:
            return None
        order = dims if dims[0] == 0 else (0, dims[0], *dims[2:])
        if order != tuple(range(len(dims))):
            value = self._emit(node, permute.forward, (value, order))
        return value if dims[0] == 0 else Moved(value, True)

    def _regrouped(self, node: fx.Node, value: fx.Node) -> Moved | fx.Node:
        """A reshape of a reshape is one of the value itself."""
        shape = self._argument(node.args[1])
        if _merges(shape) and _comes_back(node):
            return Moved(self._emit(node, views.rows, (value, shape[1])), False)
        return self._emit(node, reshape.forward, (value, shape))

    def _applied(self, op: Operator, node: fx.Node, turned: bool) -> Moved | fx.Node | None:
        """The operator, applied to what its operands are before the batch is moved."""
        names = list(signature(op.forward).parameters)
        like = next(self.moved[source].node for source in node_arguments(node.args) if source in self.moved)
        bounded = {name: arg for name, arg in zip(names, node.args, strict=False) if name in op.operands}
        if any(kind(n) != "exact" and n not in self.moved for n in node_arguments(tuple(bounded.values()))):
            return None
        again: tuple[tuple, bool] | None = None
        if op.treats_rows_alike(node.args):
            again = node.args, True
        elif turned and op.turned is not None:
            again = op.turned(*node.args)
        if again is None:
            return None

        def beside(constant: fx.Node) -> fx.Node:
            if constant in self.moved:
                return self.moved[constant].node
            view = views.beside_turned if turned else views.beside_merged
            return self._exact(view, (self.copies[constant], self._exact(getattr, (like, "shape"))))

        args = tuple(
            mapped(arg, beside) if op.elementwise or name in op.operands else self._argument(arg)
            for name, arg in zip(names, again[0], strict=False)
        )
        result = self._emit(node, op.forward, args)
        return Moved(result, turned) if again[1] else result

    def _by_moved_shape(self, node: fx.Node) -> bool:
        """Answer what is asked of the shape of a moved value, without making it."""
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if source not in self.moved or kind(node) != "exact":
            return False
        value, turned = self.moved[source]
        if node.target is getattr and node.args[1] in METADATA["attributes"] - {"shape", "ndim"}:
            self.copies[node] = self._exact(getattr, (value, node.args[1]))
            return True
        asks = node.target == "size" or getattr(node.target, "__name__", "") == "sym_size.int"
        if not asks and not (node.target is getattr and node.args[1] == "shape"):
            return False
        view = views.turned_shape if turned else views.merged_shape
        shape = self._exact(view, (self._exact(getattr, (value, "shape")),))
        dim = node.args[1:] if asks else ()
        self.copies[node] = self._exact(python_operator.getitem, (shape, *map(self._argument, dim))) if dim else shape
        return True

    def _argument(self, argument: Any) -> Any:
        return mapped(argument, self.copies.__getitem__)

    def _emit(self, node: fx.Node, target: Callable[..., Any], args: tuple) -> fx.Node:
        emitted = emit(self.graph, target, args, "perturbed", node.name, node)
        emitted.meta.update({key: node.meta[key] for key in ("spelling",) if key in node.meta})
        return emitted

    def _exact(self, target: Callable[..., Any], args: tuple) -> fx.Node:
        return emit(self.graph, target, args, "exact", getattr(target, "__name__", "value"))


def _swaps_first(dims: Any) -> bool:
    return _is_order(dims) and sorted(dims) == [0, 1]


def _is_order(dims: Any) -> bool:
    return isinstance(dims, tuple | list) and all(isinstance(dim, int) and dim >= 0 for dim in dims)


def _merges(shape: Any) -> bool:
    """Whether it is (-1, size), or (a * b, size)."""
    if not isinstance(shape, tuple | list) or len(shape) != 2 or shape[1] == -1:
        return False
    return shape[0] == -1 or (isinstance(shape[0], fx.Node) and shape[0].target is mul.forward)


def _comes_back(node: fx.Node) -> bool:
    """Whether rows are regrouped later, after nothing but what treats them alike: then they are no flat examples."""
    for user in node.users:
        op = operator_of(user)
        if user.target is reshape.forward:
            shape = user.args[1]
            if isinstance(shape, tuple | list) and not _merges(shape):
                return True
        elif op is not None and op.treats_rows_alike(user.args) and _comes_back(user):
            return True
    return False
