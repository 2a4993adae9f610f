"""How people write what a call is of: F.relu, torch.exp, x.sum(), x + y, aten.relu.default."""

from __future__ import annotations

import functools
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

_SYMBOLS = {
    "add": "+", "iadd": "+=", "sub": "-", "isub": "-=", "mul": "*", "imul": "*=", "truediv": "/", "itruediv": "/=",
    "matmul": "@", "imatmul": "@=", "pow": "**", "ipow": "**=", "mod": "%", "floordiv": "//", "and_": "&", "or_": "|",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
_UNARY = {"neg": "-x", "pos": "+x", "abs": "abs(x)", "getitem": "x[...]", "invert": "~x"}


def written(target: Any) -> str:
    """What a user writes for a function, a method (its name), an attribute of tensors, or an ATen overload."""
    if isinstance(target, str):
        return "y ** x" if target == "__rpow__" else f"x.{target}()"
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    name = getattr(target, "__name__", str(target))
    if isinstance(target, type):
        return f"nn.{name}" if issubclass(target, nn.Module) and hasattr(nn, name) else name
    module = getattr(target, "__module__", None)
    if module == "_operator":
        return f"x {_SYMBOLS[name]} y" if name in _SYMBOLS else _UNARY.get(name, f"operator.{name}")
    if getattr(torch.Tensor, name, None) is target:
        return f"x.{name}"
    # the name under which torch documents it, where its own module is some private one
    return _names().get(target) or (f"{module}.{name}" if module else name)


@functools.cache
def _names() -> dict[Any, str]:
    """Public functions of torch by their names there."""
    names: dict[Any, str] = {}
    for owner, place in (("F", F), ("torch", torch), ("torch.linalg", torch.linalg), ("torch.special", torch.special)):
        for name, value in vars(place).items():
            if not isinstance(value, FunctionType | BuiltinFunctionType) or name.startswith("_"):
                continue
            if value not in names or name == value.__name__ != names[value].rpartition(".")[2]:
                names[value] = f"{owner}.{name}"  # of several names that of the function itself
    return names
