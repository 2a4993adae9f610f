"""Writing calls into a graph in their canonical spelling, composite functions written out."""

from __future__ import annotations

from collections.abc import Callable
from operator import getitem
from typing import Any

from torch import Tensor, fx

from boundgraph import operator
from boundgraph.operator import Alias, Expansion, Operator, Parts, Random, Refused, Several
from boundgraph.spelling import written
from passes.graphs import ancestors, emit, mapped


class Calls:
    """Copies nodes into `graph`: each call of a known function becomes its operator's, or what is written out for it.

    A copy is a node, a number, a tuple, list or dict of such, or `Parts`.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph

    def copy(self, node: fx.Node, copies: dict[fx.Node, Any]) -> None:
        """Set copies[node]. A call that its rule refuses stays as it is, with the reason: it is only a problem if a
        perturbation reaches it, and that is found out later."""
        rule = None if "refused" in node.meta else operator.of(node.target) or operator.rule_of(called(node))
        try:
            if node.op in ("call_function", "call_method") and node.target in (getitem, getattr):
                taken = _taken(node, copies)
                if taken is not None:
                    if node.users:  # exported graphs take every part, whether it is wanted or not
                        copies[node] = self._part(*taken, node)
                    return
            args, kwargs = mapped((node.args, dict(node.kwargs)), lambda old: self.complete(copies[old], old))
            if rule is None or node.op not in ("call_function", "call_method"):
                copies[node] = self.added(self.graph.create_node(node.op, node.target, args, kwargs, node.name), node)
            else:
                args = args[:1] if node.target is getattr else args
                kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
                copies[node] = self._result(rule, node, args, kwargs)
        except (Refused, TypeError) as refusal:
            reason = str(refusal)
            args, kwargs = mapped((node.args, dict(node.kwargs)), lambda old: self._as_it_stands(old, copies, reason))
            copied = self.added(self.graph.create_node(node.op, node.target, args, kwargs, node.name), node)
            copies[node] = copied
            copied.meta.update(refused=reason, random=isinstance(refusal, Random))

    def _as_it_stands(self, node: fx.Node, copies: dict[fx.Node, Any], reason: str) -> Any:
        """A value as the argument of a refused call; of parts the call that makes them, which exact values may need."""
        if not isinstance(copies[node], Parts):
            return copies[node]
        args, kwargs = mapped((node.args, dict(node.kwargs)), lambda old: self._as_it_stands(old, copies, reason))
        copied = self.added(self.graph.create_node(node.op, node.target, args, kwargs, node.name), node)
        copied.meta["refused"] = reason
        return copied

    def _result(self, rule: operator.Rule, node: fx.Node, args: tuple, kwargs: dict[str, Any]) -> Any:
        if isinstance(rule, Operator):
            canonical = args if node.target is rule.forward else rule.adapters[called(node)](*args, **kwargs)
            return self.call(rule, tuple(canonical), node.name, node)
        if isinstance(rule, Expansion):
            return self.expand(rule.adapters[called(node)], args, kwargs, node)
        assert isinstance(rule, Alias | Several)
        return rule.adapters[called(node)](*args, **kwargs)

    def added(self, copied: fx.Node, node: fx.Node) -> fx.Node:
        """Called for each call that is copied as it stands."""
        copied.meta.update(node.meta)
        return copied

    def call(self, op: Operator, args: tuple, name: str, origin: fx.Node) -> Any:
        """Write the call of an operator."""
        node = emit(self.graph, op.forward, args, "exact", name, origin=origin)
        node.meta["spelling"] = spelling(origin)
        return node

    def expand(self, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any], origin: fx.Node) -> Any:
        """Write out what a function of torch calls does to these arguments."""
        body = fx.Graph()
        tracer = fx.proxy.GraphAppendingTracer(body)
        inside: dict[fx.Node, fx.Proxy] = {}

        def stand_in(node: fx.Node) -> Any:
            if node not in inside:
                inside[node] = fx.Proxy(body.placeholder(node.name), tracer)
            return inside[node]

        args, kwargs = _mapped_tree((args, kwargs), fx.Node, stand_in)
        result = function(*args, **kwargs)
        copies: dict[fx.Node, Any] = {proxy.node: node for node, proxy in inside.items()}
        last = result.node if isinstance(result, fx.Proxy) else None
        needed = {node for proxy in _proxies(result) for node in (proxy.node, *ancestors(proxy.node))}
        for node in body.nodes:
            if node.op == "placeholder" or node not in needed:
                continue
            node.meta = {key: origin.meta[key] for key in ("stack_trace", "nn_module_stack") if key in origin.meta}
            node.meta["spelling"] = spelling(origin)
            node.name = origin.name if node is last else f"{origin.name}_{node.name}"
            self.copy(node, copies)
        return _mapped_tree(result, fx.Proxy, lambda proxy: copies[proxy.node])

    def complete(self, value: Any, node: fx.Node) -> Any:
        """A value as an argument; of parts all of them."""
        if isinstance(value, Parts) and value.count is None:
            raise Refused("the number of its parts is not known before the graph runs; take them by number, parts[0]")
        return self._part(value, slice(None), node) if isinstance(value, Parts) else value

    def _part(self, value: Any, index: Any, node: fx.Node) -> Any:
        if not isinstance(value, Parts):
            return getattr(value, index) if isinstance(index, str) and not isinstance(value, dict) else value[index]
        if isinstance(index, str):
            index = value.names.index(index) if index in value.names else index
        if isinstance(index, slice) and value.count is not None:
            return tuple(self._part(value, number, node) for number in range(value.count)[index])
        if not isinstance(index, int):
            raise Refused(f"its parts are taken one by one, by number, not by {index!r}")
        target, args = value.part(index)
        op = operator.of(target)
        if op is not None:
            return self.call(op, args, node.name, node)
        return self.added(self.graph.create_node("call_function", target, args, {}, node.name), node)


def called(node: fx.Node) -> Any:
    """What the node calls; of an attribute that is worked out, such as x.mT, the descriptor Tensor.mT."""
    if node.target is getattr and isinstance(node.args[1], str):
        return getattr(Tensor, node.args[1], None)
    return node.target


def _taken(node: fx.Node, copies: dict[fx.Node, Any]) -> tuple[Any, Any] | None:
    """A value that is no single tensor, and which part of it the node takes."""
    if len(node.args) != 2 or not isinstance(node.args[0], fx.Node):
        return None
    value = copies[node.args[0]]
    return (value, node.args[1]) if isinstance(value, tuple | list | dict | Parts) else None


def _mapped_tree(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """The value with all leaves of a kind replaced, in tuples, lists, dicts and parts that are yet to be taken."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, Parts):
        return Parts(lambda index: _mapped_tree(value.part(index), kind, function), value.names, value.count)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped_tree(part, kind, function) for part in value))
    if isinstance(value, tuple | list):
        return type(value)(_mapped_tree(part, kind, function) for part in value)
    if isinstance(value, slice):
        return slice(*(_mapped_tree(end, kind, function) for end in (value.start, value.stop, value.step)))
    if isinstance(value, dict):
        return {key: _mapped_tree(part, kind, function) for key, part in value.items()}
    return value


def _proxies(args: Any) -> list[fx.Proxy]:
    if isinstance(args, Parts):
        return _proxies(args.part(0)[1])
    if isinstance(args, dict):
        args = tuple(args.values())
    if isinstance(args, tuple | list):
        return [proxy for part in args for proxy in _proxies(part)]
    return [args] if isinstance(args, fx.Proxy) else []


def spelling(node: fx.Node) -> str:
    """What the user wrote."""
    if "spelling" in node.meta:
        return node.meta["spelling"]
    return f"x.{node.args[1]}" if node.target is getattr else written(node.target)
