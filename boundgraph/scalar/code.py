"""Tensor code for an expression in `X` that neither overflows on the way nor loses its value far from 0.

An exponential e = exp(q) is a / b with a = exp(min(q, 0)) and b = exp(min(-q, 0)), one of which is 1, so a quotient of
polynomials in e is one of polynomials in a and b, none of which exceeds 1. The same is done with x where it occurs in a
denominator: x = c / d with d = 1 / max(1, |x|).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
import torch
from torch import Tensor

from boundgraph.operator import X
from boundgraph.scalar.signs import algebraic

Function = Callable[[Tensor], Tensor]

_TORCH: dict[str, Any] = {
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "erf": torch.erf,
    "atan": torch.atan,
    "asinh": torch.asinh,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "tan": torch.tan,
    "cos": torch.cos,
}


def tensor_code(expression: sympy.Expr) -> Function:
    """The expression as a function of tensors."""
    if not expression.has(X):
        value = float(expression)
        return lambda x: torch.full_like(x, value)
    form = algebraic(expression)
    numerator, denominator = (sympy.expand(part) for part in sympy.fraction(sympy.together(form.expression)))
    inputs: list[tuple[list[sympy.Symbol], Callable[[Tensor], list[Tensor]]]] = []
    for symbol, meaning in form.meaning.items():
        if isinstance(meaning, sympy.exp) and meaning.has(X):
            over, under = sympy.symbols(f"{symbol}_over {symbol}_under", positive=True)
            degree = max(sympy.degree(part, symbol) for part in (numerator, denominator))
            numerator, denominator = (_both(p, symbol, over, under, degree) for p in (numerator, denominator))
            inputs.append(([over, under], _exponentials(tensor_code(meaning.args[0]))))
        elif not meaning.has(X):
            numerator, denominator = (p.subs(symbol, sympy.N(meaning, 20)) for p in (numerator, denominator))
        else:
            inputs.append(([symbol], _opaque(meaning)))
    if denominator.is_polynomial(X) and numerator.is_polynomial(X) and denominator.has(X):
        over, under = sympy.symbols("x_over x_under", real=True)
        top, bottom = sympy.degree(numerator, X), sympy.degree(denominator, X)
        numerator = _both(numerator, X, over, under, top)
        denominator = _both(denominator, X, over, under, bottom)
        # P(c / d) = d^-top P*, so the quotient has d^(bottom - top) in it
        if bottom >= top:
            numerator = numerator * under ** (bottom - top)
        else:
            denominator = denominator * under ** (top - bottom)
        inputs.append(([over, under], _scaled))
    symbols = [X, *(symbol for names, _ in inputs for symbol in names)]
    body = sympy.lambdify(symbols, sympy.N(sympy.horner(numerator) if numerator.is_polynomial(X) else numerator, 20)
                          / sympy.N(denominator, 20), modules=[_TORCH], cse=True)  # fmt: skip

    def function(x: Tensor) -> Tensor:
        return body(x, *(value for _, compute in inputs for value in compute(x)))

    return function


def _both(part: sympy.Expr, symbol: sympy.Symbol, over: sympy.Symbol, under: sympy.Symbol, degree: int) -> sympy.Expr:
    """The polynomial in symbol = over / under, times under^degree."""
    coefficients = sympy.Poly(part, symbol).all_coeffs()
    powers = reversed(range(len(coefficients)))
    return sympy.Add(*(c * over**n * under ** (degree - n) for c, n in zip(coefficients, powers, strict=True)))


def _exponentials(exponent: Function) -> Callable[[Tensor], list[Tensor]]:
    def compute(x: Tensor) -> list[Tensor]:
        q = exponent(x)
        return [torch.exp(q.clamp(max=0)), torch.exp((-q).clamp(max=0))]

    return compute


def _scaled(x: Tensor) -> list[Tensor]:
    under = 1 / x.abs().clamp(min=1)
    return [x * under, under]


def _opaque(meaning: sympy.Expr) -> Callable[[Tensor], list[Tensor]]:
    """A function of something, or a power of it with a constant exponent."""
    if isinstance(meaning, sympy.Pow):
        base, exponent = tensor_code(meaning.base), float(meaning.exp)
        return lambda x: [base(x) ** exponent]
    if isinstance(meaning, sympy.log):
        return _logarithm(meaning.args[0])
    function, inner = _TORCH[meaning.func.__name__], tensor_code(meaning.args[0])
    return lambda x: [function(inner(x))]


def _logarithm(argument: sympy.Expr) -> Callable[[Tensor], list[Tensor]]:
    """log of 1 + exp(q) is max(q, 0) + log1p(exp(-|q|)); of anything else, log."""
    rest = sympy.expand(argument - 1)
    if isinstance(rest, sympy.exp):
        exponent = tensor_code(rest.args[0])
        return lambda x: [torch.logaddexp(q := exponent(x), torch.zeros_like(q))]
    inner = tensor_code(argument)
    return lambda x: [torch.log(inner(x))]
