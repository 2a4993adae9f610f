"""Registered Python functions stay one call while a model is traced, instead of the calls they are made of.

A function of torch's tells the tracer about itself. One of somebody's own does not, so for the time of a trace all
names by which the model's code can reach it lead to a stand-in: globals of the modules that define its classes, what
packages among these globals export, variables that its methods have closed over, and attributes of its modules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

from torch import fx, nn
from torch.utils._pytree import tree_leaves

from boundgraph.operator import python_functions


@contextmanager
def whole_functions(model: nn.Module) -> Iterator[None]:
    """Within, calls of registered Python functions by the model's code are recorded as such."""
    stand_ins = {id(function): _recorded(function) for function in python_functions()}
    undo: list[Callable[[], None]] = []
    try:
        if stand_ins:
            namespaces, cells = _namespaces(model), _cells(model)  # before the stand-ins are found there
            for namespace in namespaces:
                undo += _replaced(namespace, stand_ins)
            for cell in cells:
                undo += _replaced_in_cell(cell, stand_ins)
        yield
    finally:
        for step in reversed(undo):
            step()


def _recorded(function: FunctionType) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        proxy = next((leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, fx.Proxy)), None)
        if proxy is None:
            return function(*args, **kwargs)
        return proxy.tracer.create_proxy("call_function", function, args, kwargs)

    return call


def _functions(model: nn.Module) -> Iterator[FunctionType]:
    """The methods of the classes that the model's modules have, and functions that these have closed over."""
    waiting = [
        member
        for kind in {kind for module in model.modules() for kind in type(module).__mro__}
        if not kind.__module__.startswith(("torch.", "builtins"))
        for member in vars(kind).values()
    ]
    waiting += [value for module in model.modules() for value in vars(module).values()]
    seen = set()
    while waiting:
        function = waiting.pop()
        function = getattr(function, "__func__", function)  # of a bound, static or class method
        if not isinstance(function, FunctionType) or id(function) in seen:
            continue
        seen.add(id(function))
        yield function
        waiting += [content for cell in function.__closure__ or () if (content := _content(cell)) is not None]


def _namespaces(model: nn.Module) -> list[dict[str, Any]]:
    found = [vars(module) for module in model.modules()]
    found += [function.__globals__ for function in _functions(model)]
    found += [function.__globals__ for function in python_functions()]
    found += [vars(value) for namespace in found for value in list(namespace.values()) if isinstance(value, ModuleType)]
    return list({id(namespace): namespace for namespace in found}.values())


def _cells(model: nn.Module) -> list[Any]:
    cells = [cell for function in _functions(model) for cell in function.__closure__ or ()]
    return list({id(cell): cell for cell in cells}.values())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None


def _replaced(namespace: dict[str, Any], stand_ins: dict[int, Callable[..., Any]]) -> list[Callable[[], None]]:
    changed = [(name, value) for name, value in namespace.items() if id(value) in stand_ins]
    for name, value in changed:
        namespace[name] = stand_ins[id(value)]
    return [functools.partial(namespace.__setitem__, name, value) for name, value in changed]


def _replaced_in_cell(cell: Any, stand_ins: dict[int, Callable[..., Any]]) -> list[Callable[[], None]]:
    function = _content(cell)
    if id(function) not in stand_ins:
        return []
    cell.cell_contents = stand_ins[id(function)]
    return [lambda: setattr(cell, "cell_contents", function)]
