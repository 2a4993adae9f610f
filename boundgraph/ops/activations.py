"""Activations whose bounds are derived from their formulas, which are all that is said of them here."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sympy
import torch
from sympy import Abs, Max, Min, Piecewise, Rational, atan, erf, exp, log, pi, sqrt, tanh
from torch import Tensor
from torch.nn import functional as F

from boundgraph.operator import Expansion, Operator, Refused, X, register, register_rewrite
from boundgraph.scalar.activation import derived, exact_number
from boundgraph.scalar.facts import Cut, Facts, Piece, Turn, derive

aten = torch.ops.aten


def _register(name: str, function: Any, formula: Any, *spellings: Any, **parameters: Any) -> Operator:
    """formula: an expression, or a function that gives one for values of the parameters."""

    def facts(*values: Any) -> Facts:
        return derive(formula(*map(_exact, values)) if parameters else formula)

    return register(derived(name, function, facts, spellings, parameters))


def _exact(value: Any) -> Any:
    return exact_number(value) if isinstance(value, int | float) else value


def _overloads(name: str) -> tuple[Any, ...]:
    """torch.name, x.name(), x.name_() and what torch.export makes of them."""
    packets = [getattr(aten, form).default for form in (name, f"{name}_") if hasattr(aten, form)]
    methods = [form for form in (name, f"{name}_") if hasattr(Tensor, form)]
    return (*methods, *packets, *(getattr(torch, form) for form in (f"{name}_",) if hasattr(torch, form)))


# ---------------------------------------------------------------------- gates and their relatives

_sigmoid = 1 / (1 + exp(-X))
SILU = _register("silu", F.silu, X * _sigmoid, aten.silu.default, aten.silu_.default)
MISH = _register("mish", F.mish, X * tanh(log(1 + exp(X))), aten.mish.default, aten.mish_.default)
LOGSIGMOID = _register("logsigmoid", F.logsigmoid, -log(1 + exp(-X)), aten.log_sigmoid.default)
TANHSHRINK = _register("tanhshrink", F.tanhshrink, X - tanh(X))
SOFTSIGN = _register("softsign", F.softsign, X / (1 + Abs(X)))
HARDSWISH = _register("hardswish", F.hardswish, X * Max(0, Min(6, X + 3)) / 6, aten.hardswish.default)
HARDSIGMOID = _register("hardsigmoid", F.hardsigmoid, Max(0, Min(6, X + 3)) / 6, aten.hardsigmoid.default)


def _gelu(x: Tensor, approximate: str) -> Tensor:
    return F.gelu(x, approximate=approximate)


def _gelu_formula(approximate: str) -> sympy.Expr:
    if approximate == "none":
        return X * (1 + erf(X / sqrt(2))) / 2
    return X / 2 * (1 + tanh(sqrt(2 / pi) * (X + Rational("0.044715") * X**3)))


GELU = _register("gelu", _gelu, _gelu_formula, F.gelu, aten.gelu.default, approximate="none")

# ---------------------------------------------------------------------- exponential units


def _softplus(beta: Any, threshold: Any) -> sympy.Expr:
    """As torch computes it: a straight line where beta x exceeds the threshold, with a tiny jump there."""
    return Piecewise((X, beta * X > threshold), (log(1 + exp(beta * X)) / beta, True))


def _elu(alpha: Any) -> sympy.Expr:
    return Piecewise((X, X > 0), (alpha * (exp(X) - 1), True))


def _celu(alpha: Any) -> sympy.Expr:
    return Piecewise((X, X > 0), (alpha * (exp(X / alpha) - 1), True))


def _elu_of_export(x: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> tuple:
    if scale != 1 or input_scale != 1:
        raise Refused("elu with scales of its own has no formula here")
    return x, alpha


# the constants of torch, which are those of Klambauer et al. 2017 in double precision
_SELU_ALPHA, _SELU_SCALE = map(exact_number, (1.6732632423543772848170429916717, 1.0507009873554804934193349852946))

SOFTPLUS = _register("softplus", F.softplus, _softplus, aten.softplus.default, beta=1.0, threshold=20.0)
ELU = _register("elu", F.elu, _elu, (aten.elu.default, _elu_of_export),
                alpha=1.0)  # fmt: skip
CELU = _register("celu", F.celu, _celu, aten.celu.default, aten.celu_.default, torch.celu, alpha=1.0)
SELU = _register("selu", F.selu, _SELU_SCALE * _elu(_SELU_ALPHA), *_overloads("selu"), torch.selu)

# ---------------------------------------------------------------------- straight pieces


def _hardtanh(low: Any, high: Any) -> sympy.Expr:
    return Max(low, Min(high, X))


def _relu6(input: Any) -> tuple:
    return input, 0.0, 6.0


def _softshrink(lambd: Any) -> sympy.Expr:
    return Max(X - lambd, 0) + Min(X + lambd, 0)


def _hardshrink(lambd: Any) -> sympy.Expr:
    return Piecewise((X, lambd < X), (X, -lambd > X), (0, True))


def _threshold(threshold: Any, value: Any) -> sympy.Expr:
    return Piecewise((X, threshold < X), (value, True))


HARDTANH = _register("hardtanh", F.hardtanh, _hardtanh, aten.hardtanh.default, aten.hardtanh_.default,
                     (F.relu6, _relu6), min_val=-1.0, max_val=1.0)  # fmt: skip
SOFTSHRINK = _register("softshrink", F.softshrink, _softshrink, aten.softshrink.default, lambd=0.5)
HARDSHRINK = _register("hardshrink", F.hardshrink, _hardshrink, "hardshrink", aten.hardshrink.default, lambd=0.5)
THRESHOLD = _register("threshold", F.threshold, _threshold, torch.threshold, aten.threshold.default,
                      aten.threshold_.default, threshold=0.0, value=0.0)  # fmt: skip
SIGN = _register("sign", torch.sign, sympy.sign(X), *_overloads("sign"), torch.sgn, *_overloads("sgn"))


def _clamp(x: Tensor, min: float | None, max: float | None) -> Tensor:
    return torch.clamp(x, min, max)


def _clamp_formula(min: Any, max: Any) -> sympy.Expr:
    below = X if max is None else Min(max, X)
    return below if min is None else Max(min, below) if max is None else Min(max, Max(min, X))


def _limits(x: Any, min: Any = None, max: Any = None) -> tuple:
    if not all(limit is None or isinstance(limit, int | float) for limit in (min, max)):
        raise Refused("clamp to limits that are tensors; use torch.maximum and torch.minimum")
    return x, min, max


_CLAMPS = (torch.clamp, torch.clip, "clamp", "clip", "clamp_", "clip_", torch.clamp_, torch.clip_, aten.clamp.default,
           aten.clamp_.default,
           aten.clip.default, aten.clip_.default)  # fmt: skip
_BELOW = (torch.clamp_min, "clamp_min", aten.clamp_min.default)
_ABOVE = (torch.clamp_max, "clamp_max", aten.clamp_max.default)
CLAMP = _register(
    "clamp",
    _clamp,
    _clamp_formula,
    *((s, lambda input, min=None, max=None: _limits(input, min, max)) for s in _CLAMPS),
    *((s, lambda input, min: _limits(input, min)) for s in _BELOW),
    *((s, lambda input, max: _limits(input, None, max)) for s in _ABOVE),
    min=None,
    max=None,
)

# ---------------------------------------------------------------------- elementary functions

EXP = _register("exp", torch.exp, exp(X), *_overloads("exp"))
EXP2 = _register("exp2", torch.exp2, exp(X * log(2)), *_overloads("exp2"), torch.special.exp2)
EXPM1 = _register("expm1", torch.expm1, exp(X) - 1, *_overloads("expm1"), torch.special.expm1)
LOG = _register("log", torch.log, log(X), *_overloads("log"))
LOG2 = _register("log2", torch.log2, log(X) / log(2), *_overloads("log2"))
LOG10 = _register("log10", torch.log10, log(X) / log(10), *_overloads("log10"))
LOG1P = _register("log1p", torch.log1p, log(1 + X), *_overloads("log1p"), torch.special.log1p)
SQRT = _register("sqrt", torch.sqrt, sqrt(X), *_overloads("sqrt"))
RSQRT = _register("rsqrt", torch.rsqrt, 1 / sqrt(X), *_overloads("rsqrt"))
RECIPROCAL = _register("reciprocal", torch.reciprocal, 1 / X, *_overloads("reciprocal"))
ATAN = _register("atan", torch.atan, atan(X), torch.arctan, "arctan", *_overloads("atan"))
ASINH = _register("asinh", torch.asinh, sympy.asinh(X), torch.arcsinh, "arcsinh", *_overloads("asinh"))
SINH = _register("sinh", torch.sinh, sympy.sinh(X), *_overloads("sinh"))
COSH = _register("cosh", torch.cosh, sympy.cosh(X), *_overloads("cosh"))
ERF = _register("erf", torch.erf, erf(X), torch.special.erf, *_overloads("erf"))


def _pow(exponent: Any) -> sympy.Expr:
    return X**exponent


def _constant_exponent(x: Any, exponent: Any) -> tuple:
    if not isinstance(x, int | float) and not isinstance(exponent, int | float):
        raise Refused("a power whose exponent is no constant number; write it as exp(exponent * log(x))")
    return x, exponent


def _base_to_the(x: Any, exponent: Any) -> Any:
    """base ** x for a constant base."""
    if not isinstance(x, int | float) or x <= 0:
        raise Refused("a power of a base that is no positive number")
    return torch.exp(exponent * math.log(x))


_POWERS = (torch.pow, "pow", "pow_", operator.pow, aten.pow.Tensor_Scalar, aten.pow_.Scalar)
_SQUARES = (torch.square, "square", "square_", aten.square.default, aten.square_.default)
POW = _register(
    "pow",
    torch.pow,
    _pow,
    *((s, lambda input, exponent: _constant_exponent(input, exponent)) for s in _POWERS),
    *((s, lambda input: (input, 2)) for s in _SQUARES),
    exponent=2,
)
POW = register(replace(POW, otherwise=_base_to_the))

# ---------------------------------------------------------------------- periodic functions


def _wave(formula: sympy.Expr, first_bend: Any, curvature: int) -> Facts:
    """Two periods of sine or cosine from a zero on: zeros are inflections, and the turns lie half-way between them."""
    zeros = [first_bend + n * pi for n in range(5)]
    signs = [curvature * (-1) ** n for n in range(4)]
    pieces = [Piece(a, b, formula, sign) for a, b, sign in zip(zeros, zeros[1:], signs, strict=False)]
    turns = [Turn(piece.start + pi / 2, -piece.curvature) for piece in pieces]
    return Facts(formula, tuple(pieces), tuple(Cut(zero, None, None, 0) for zero in zeros[1:-1]), tuple(turns))


def _tangent() -> Facts:
    """Two branches of the tangent and the pole between them."""
    formula, half = sympy.tan(X), pi / 2
    ends = [-half, 0, half, pi, 3 * half]
    pieces = [Piece(a, b, formula, s) for a, b, s in zip(ends, ends[1:], (-1, 1, -1, 1), strict=False)]
    bend = [Cut(sympy.sympify(at), None, None, 0) for at in (0, pi)]
    return Facts(formula, tuple(pieces), (bend[0], Cut(half, sympy.oo, -sympy.oo, 0), bend[1]), ())


def _periodic(name: str, function: Callable[..., Tensor], facts: Callable[[], Facts], period: float) -> Operator:
    return register(derived(name, function, facts, _overloads(name), period=period))


SIN = _periodic("sin", torch.sin, lambda: _wave(sympy.sin(X), sympy.Integer(0), -1), 2 * math.pi)
COS = _periodic("cos", torch.cos, lambda: _wave(sympy.cos(X), pi / 2, 1), 2 * math.pi)
TAN = _periodic("tan", torch.tan, _tangent, math.pi)

# ---------------------------------------------------------------------- written out


def _erfc(input: Any) -> Any:
    return 1 - torch.erf(input)


def _glu(input: Any, dim: int = -1) -> Any:
    parts = input.chunk(2, dim)
    return parts[0] * torch.sigmoid(parts[1])


register_rewrite(Expansion("erfc", dict.fromkeys((torch.erfc, torch.special.erfc, "erfc", aten.erfc.default), _erfc)))
register_rewrite(Expansion("glu", dict.fromkeys((F.glu, aten.glu.default), _glu)))
register_rewrite(Expansion("power of a constant", {aten.pow.Scalar: _base_to_the}))
