"""Layers that are written out while a model is traced, because their own forward decides on shapes or flags of speed.

A layer that has hooks, or a forward of its own, is left to the tracer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from boundgraph import operator

Forward = Callable[..., Any]

_FORWARDS: dict[Any, Forward] = {}


def written_as(*kinds: type[nn.Module]) -> Callable[[Forward], Forward]:
    """Registers (layer, *arguments of its forward) -> result, in torch calls that symbolic tracing can follow, as what
    layers of these kinds compute."""

    def declare(function: Forward) -> Forward:
        _FORWARDS.update(dict.fromkeys(kinds, function))
        return function

    return declare


def written_out_layers() -> dict[type[nn.Module], Forward]:
    """The kinds of layers, and what is traced in place of their forward."""
    return dict(_FORWARDS)


def forward_of(layer: nn.Module, forward: Forward) -> Forward:
    """What to trace in place of `forward`, the call of a layer."""
    mro: tuple[Any, ...] = type(layer).__mro__
    for kind in mro:
        function = _FORWARDS.get(kind)
        if function is not None:
            own = type(layer).forward is not kind.forward or "forward" in vars(layer)
            hooked = layer._forward_hooks or layer._forward_pre_hooks
            return forward if own or hooked else functools.partial(function, layer)
    return forward


def call_of(layer: nn.Module, forward: Forward) -> Forward:
    """What symbolic tracing follows in place of `forward`: an operator that has the layer's class for a spelling, what
    is written out for it, or itself."""
    kind = type(layer)
    rule = operator.rule_of(kind)
    if rule is None or "forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks:
        return forward_of(layer, forward)
    if isinstance(rule, operator.Operator):
        return functools.partial(_call_of_operator, rule, layer)
    return functools.partial(rule.adapters[kind], layer)


def _call_of_operator(op: operator.Operator, layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return operator.applied(op.forward, *op.adapters[type(layer)](layer, *args, **kwargs))


@contextmanager
def written_out(model: nn.Module) -> Iterator[None]:
    """All layers of the model with the forward that is to be traced; afterwards with their own."""
    changed = [(layer, forward_of(layer, layer.forward)) for layer in model.modules()]
    changed = [(layer, forward) for layer, forward in changed if isinstance(forward, functools.partial)]
    try:
        for layer, forward in changed:
            vars(layer)["forward"] = forward
        yield
    finally:
        for layer, _ in changed:
            vars(layer).pop("forward", None)
