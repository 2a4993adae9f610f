"""Derived activations: the laws, for every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from boundgraph.ops import activations
from boundgraph.scalar.activation import is_derived, rules_of
from boundgraph.testing import Perturbed, check_operator

X = Perturbed(3, 2)

# operator -> arguments in question, and calls that use it
CASES: dict[str, tuple[list[tuple[Any, ...]], list[Callable[..., Any]]]] = {
    "SILU": ([(X,)], [nn.SiLU()]),
    "MISH": ([(X,)], [nn.Mish()]),
    "LOGSIGMOID": ([(X,)], [nn.LogSigmoid()]),
    "TANHSHRINK": ([(X,)], [nn.Tanhshrink()]),
    "SOFTSIGN": ([(X,)], [nn.Softsign()]),
    "HARDSWISH": ([(X,)], [nn.Hardswish()]),
    "HARDSIGMOID": ([(X,)], [nn.Hardsigmoid()]),
    "GELU": ([(X, "none"), (X, "tanh")], [nn.GELU()]),
    "SOFTPLUS": ([(X,), (X, 2.0, 3.0)], [nn.Softplus()]),
    "ELU": ([(X,), (X, 0.5), (X, 2.5)], [nn.ELU()]),
    "CELU": ([(X,), (X, 0.5), (X, 2.5)], [nn.CELU()]),
    "SELU": ([(X,)], [nn.SELU()]),
    "HARDTANH": ([(X,), (X, -2.0, 0.5), (X, 0.0, 6.0)], [nn.Hardtanh()]),
    "SOFTSHRINK": ([(X,), (X, 1.5)], [nn.Softshrink()]),
    "HARDSHRINK": ([(X,), (X, 1.5)], [nn.Hardshrink()]),
    "THRESHOLD": ([(X,), (X, 1.0, 5.0), (X, -1.0, -1.0)], []),
    "SIGN": ([(X,)], []),
    "CLAMP": ([(X, -1.0, 2.0), (X, None, 1.5), (X, 0.5, None)], []),
    "EXP": ([(X,)], []),
    "EXP2": ([(X,)], []),
    "EXPM1": ([(X,)], []),
    "LOG": ([(X,)], []),
    "LOG2": ([(X,)], []),
    "LOG10": ([(X,)], []),
    "LOG1P": ([(X,)], []),
    "SQRT": ([(X,)], []),
    "RSQRT": ([(X,)], []),
    "RECIPROCAL": ([(X,)], []),
    "ATAN": ([(X,)], []),
    "ASINH": ([(X,)], []),
    "SINH": ([(X,)], []),
    "COSH": ([(X,)], []),
    "ERF": ([(X,)], []),
    "POW": ([(X, 2), (X, 3), (X, 4), (X, 1.5), (X, -1), (X, -2), (X, 0.5)], []),
    "SIN": ([(X,)], []),
    "COS": ([(X,)], []),
    "TAN": ([(X,)], []),
}


def _points(op: Any, values: tuple[Any, ...]) -> tuple[float, ...]:
    shape = rules_of(op, *values).shape
    found = {point for change in shape.mixed for point in change}
    found |= {*shape.minima, *shape.maxima, *shape.ridges, *shape.valleys, *(jump.at for jump in shape.jumps)}
    return tuple(sorted(found)[:6]) or (0.0,)


@pytest.mark.parametrize("name", CASES)
def test_laws(name: str) -> None:
    op = getattr(activations, name)
    cases, calls = CASES[name]
    for arguments in cases:
        values = arguments[1:] if len(arguments) > 1 else tuple(_defaults(op))
        check_operator(
            op, cases=[arguments], points=_points(op, values), calls=calls if arguments is cases[0] else None
        )


def _defaults(op: Any) -> list[Any]:
    import inspect

    return [p.default for p in list(inspect.signature(op.forward).parameters.values())[1:]]


def test_every_activation_has_its_laws() -> None:
    derived = {key for key, value in vars(activations).items() if isinstance(value, activations.Operator)}
    assert all(is_derived(getattr(activations, key)) for key in derived)
    assert derived == set(CASES)
