"""Writes in place, seen as values: `x.relu_()` means that whoever reads x later reads relu(x)."""

from __future__ import annotations

import operator as python_operator
from typing import Any

from torch import fx

from boundgraph import operator
from boundgraph.errors import CaptureError
from boundgraph.locations import describe

_IN_PLACE_OPERATORS = frozenset(
    {python_operator.iadd, python_operator.isub, python_operator.imul, python_operator.itruediv}
)
# calls whose result shares memory with their operand, by the last part of the name
_VIEWS = frozenset(
    {"view", "reshape", "flatten", "permute", "transpose", "swapaxes", "squeeze", "unsqueeze", "getitem", "expand",
     "expand_as", "narrow", "select", "chunk", "split", "unbind", "t", "T", "mT", "unflatten", "view_as", "movedim",
     "contiguous", "detach", "dropout", "diagonal", "unfold", "slice", "alias", "to", "float", "double", "type_as",
     "swapdims", "moveaxis", "broadcast_to", "tensor_split", "split_with_sizes", "unsafe_chunk", "reshape_as",
     "adjoint", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"}
)  # fmt: skip

_VIEW_ATTRIBUTES = frozenset({"data", "T", "mT", "H", "mH", "real", "imag"})
# in place by name alone: they change no number
_HARMLESS = frozenset({"detach_", "requires_grad_"})


def _name(node: fx.Node) -> str:
    if node.op == "call_function" and hasattr(node.target, "_schema"):
        return str(node.target._schema.name).split("::")[-1]
    return str(getattr(node.target, "__name__", node.target))


def writes(node: fx.Node) -> bool:
    """Whether the call overwrites its first operand."""
    if node.op not in ("call_function", "call_method") or _name(node) in _HARMLESS:
        return False
    if node.target in _IN_PLACE_OPERATORS or node.kwargs.get("inplace") is True:
        return True
    if hasattr(node.target, "_schema"):
        return bool(node.target._schema.is_mutable)
    name = _name(node)
    return name.endswith("_") and not name.endswith("__")


class InPlace:
    """Which nodes of a graph write in place, and whether their effect can be written as a value."""

    def __init__(self, graph: fx.Graph) -> None:
        self.position = {node: i for i, node in enumerate(graph.nodes)}
        self.owner: dict[fx.Node, fx.Node] = {}  # the node whose memory a node shares
        self.tensor: dict[fx.Node, fx.Node] = {}  # the node whose very tensor it is: a write returns its operand
        state: dict[str, fx.Node] = {}  # every reader of a weight or constant shares its memory
        for node in graph.nodes:
            if node.op == "get_attr":
                self.owner[node] = self.tensor[node] = state.setdefault(str(node.target), node)
                continue
            self.owner[node] = self.tensor[node] = node
            if node.args and isinstance(operand := node.args[0], fx.Node):
                if writes(node):
                    self.tensor[node] = self.tensor[operand]
                if writes(node) or _may_view(node):
                    self.owner[node] = self.owner[operand]

    def to_state(self, node: fx.Node) -> bool:
        """Whether the node changes a buffer or parameter of the model (and nothing else reads the result)."""
        if not writes(node) or self.owner[node].op != "get_attr":
            return False
        if str(self.owner[node].target).startswith("constants."):
            raise CaptureError(
                f"{describe(node)} writes to a tensor that forward has just made; code that reads it later is not "
                "followed. Use the form that returns a new tensor, e.g. total = total + y"
            )
        family = [other for other, owner in self.owner.items() if owner is self.owner[node]]
        if node.users or any(self._read_after(other, node, made_later_too=True) for other in family):
            raise CaptureError(
                f"the model overwrites its own state and reads it again ({describe(node)}); bounds are a pure function "
                "of weights and inputs, so do this outside forward"
            )
        return True

    def overwritten(self, node: fx.Node) -> list[fx.Node]:
        """The nodes whose later readers must read `node` instead, if `node` writes in place: its operand, and what
        was written to that tensor before."""
        if node.kwargs.get("out") is not None or (writes(node) and not node.args):
            raise CaptureError(
                f"{describe(node)} writes to a tensor that is no first operand; use the form that returns a new tensor"
            )
        if not writes(node) or not isinstance(node.args[0], fx.Node):
            return []
        earlier = []
        for other, owner in self.owner.items():
            if other is node or owner is not self.owner[node]:
                continue
            if self.tensor[other] is self.tensor[node]:
                earlier += [other] if self.position[other] < self.position[node] else []
            elif self._read_after(other, node):
                raise CaptureError(
                    f"{describe(node)} writes in place, and `{other.name}`, which shares its memory, is read later; "
                    "use the form that returns a new tensor"
                )
        return earlier

    def _read_after(self, other: fx.Node, write: fx.Node, made_later_too: bool = False) -> bool:
        if self.position[other] > self.position[write] and not made_later_too:
            return False  # made from the new value
        return any(self.position[user] > self.position[write] for user in other.users)


def _may_view(node: fx.Node) -> bool:
    if node.target is getattr:
        return node.args[1] in _VIEW_ATTRIBUTES
    name: Any = _name(node)
    return name in _VIEWS or (name != "clone" and operator.is_alias(node.target))
