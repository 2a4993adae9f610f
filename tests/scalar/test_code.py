"""Tensor code of formulas: right to the last digits, and finite far out where naive code overflows."""

from __future__ import annotations

import mpmath
import pytest
import sympy
import torch
from sympy import Rational, erf, exp, log, pi, sqrt, tanh

from boundgraph.operator import X
from boundgraph.scalar.code import tensor_code

FORMULAS = {
    "mish": X * tanh(log(1 + exp(X))),
    "gelu": X * (1 + erf(X / sqrt(2))) / 2,
    "gelu, tanh": X / 2 * (1 + tanh(sqrt(2 / pi) * (X + Rational("0.044715") * X**3))),
    "softplus, squared": log(1 + exp(X)) ** 2,
    "rational": X**3 / (1 + X**2),
    "root": sqrt(1 + X**2),
    "arc tangent": X * sympy.atan(X),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives(name: str, order: int) -> None:
    expression = sympy.diff(FORMULAS[name], X, order)
    x = torch.tensor([-1e4, -300, -40, -3, -1, -0.3, -1e-3, 0, 1e-3, 0.3, 1, 3, 40, 300, 1e4], dtype=torch.float64)
    exact = sympy.lambdify(X, expression, "mpmath")
    with mpmath.workdps(60):
        expected = torch.tensor([float(exact(mpmath.mpf(value))) for value in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(tensor_code(expression)(x), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_out_the_slope_is_a_number(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([-1e12, -1e9, -1e6, 1e6, 1e9, 1e12], dtype=dtype)
    slope = tensor_code(sympy.diff(FORMULAS[name], X))(x)
    assert slope.dtype == dtype
    assert bool(slope.isfinite().all())


def test_constants_fill_the_shape() -> None:
    found = tensor_code(sympy.Rational(1, 4))(torch.zeros(2, 3))
    assert found.tolist() == [[0.25] * 3] * 2
