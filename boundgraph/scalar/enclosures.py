"""Values of sympy expressions in interval arithmetic: what is computed encloses what is meant.

mpmath's `iv` rounds outward. Functions that it lacks are monotone, so their values at the ends, computed with digits to
spare and moved outward, enclose them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy
from mpmath import iv, mp

from boundgraph.operator import X

PRECISION = 200  # bits

Ball = Any  # an interval of mpmath


@contextmanager
def precise(bits: int = PRECISION) -> Iterator[None]:
    """Interval arithmetic with so many bits; mpmath keeps its precision in a global."""
    before = iv.prec
    iv.prec = bits
    try:
        yield
    finally:
        iv.prec = before


def ball(value: Any) -> Ball:
    """The enclosure of an exact number, as thin as the precision allows."""
    return _of_number(value, iv.prec) if isinstance(value, sympy.Expr) else iv.mpf(value)


@cache
def _of_number(value: sympy.Expr, precision: int) -> Ball:
    return enclose(value, None)


def between(lower: Any, upper: Any) -> Ball:
    return iv.mpf([lower, upper])


def sign_of(value: Ball) -> int | None:
    """The sign of all numbers in an enclosure, None where they differ or are 0."""
    return 1 if value.a > 0 else -1 if value.b < 0 else None


def ends(value: Ball) -> tuple[Any, Any]:
    """Lower and upper end, as plain numbers of mpmath."""
    with mp.workprec(PRECISION + 20):
        return mp.mpf(value.a), mp.mpf(value.b)


def _monotone(function: Callable[[Any], Any]) -> Callable[[Ball], Ball]:
    """The image under a rising function that mpmath computes to nearly all digits."""

    def image(x: Ball) -> Ball:
        with mp.workprec(PRECISION + 40):
            low, high = (function(end) for end in ends(x))
            away = mp.mpf(2) ** -PRECISION
            return between(low - away * abs(low), high + away * abs(high))

    return image


def _even(function: Callable[[Ball], Ball]) -> Callable[[Ball], Ball]:
    """The image under an even function that rises right of 0, given on numbers >= 0."""

    def image(x: Ball) -> Ball:
        low, high = (end if end >= 0 else -end for end in (x.a, x.b))
        least = iv.mpf(0) if x.a <= 0 <= x.b else min(low, high, key=lambda end: end.a)
        most = max(low, high, key=lambda end: end.a)
        return between(function(least).a, function(most).b)

    return image


_FUNCTIONS: dict[Any, Callable[[Ball], Ball]] = {
    sympy.exp: lambda x: iv.exp(x),
    sympy.log: lambda x: iv.log(x),
    sympy.sin: lambda x: iv.sin(x),
    sympy.cos: lambda x: iv.cos(x),
    sympy.tan: lambda x: iv.sin(x) / iv.cos(x),
    sympy.tanh: _monotone(mpmath.tanh),
    sympy.sinh: _monotone(mpmath.sinh),
    sympy.cosh: _even(lambda x: (iv.exp(x) + iv.exp(-x)) / 2),
    sympy.atan: _monotone(mpmath.atan),
    sympy.asinh: _monotone(mpmath.asinh),
    sympy.erf: _monotone(mpmath.erf),
    sympy.Abs: lambda x: abs(x),
}


def enclose(expression: sympy.Expr, x: Ball | None) -> Ball:
    """The values that an expression in `X` takes for the numbers in x.

    Raises:
        NotImplementedError: the expression holds a function without an enclosure.
    """
    return _enclosure(sympy.sympify(expression))(x)


@cache
def _enclosure(expression: sympy.Expr) -> Callable[[Ball], Ball]:
    if expression == X:
        return lambda x: x
    if isinstance(expression, sympy.Number | sympy.NumberSymbol):
        return lambda x: _constant(expression, iv.prec)
    if isinstance(expression, sympy.Add):
        parts = [_enclosure(part) for part in expression.args]
        return lambda x: functools.reduce(lambda total, part: total + part(x), parts[1:], parts[0](x))
    if isinstance(expression, sympy.Mul):
        parts = [_enclosure(part) for part in expression.args]
        return lambda x: functools.reduce(lambda total, part: total * part(x), parts[1:], parts[0](x))
    if isinstance(expression, sympy.Pow):
        return _power(expression)
    function = _FUNCTIONS.get(expression.func)
    if function is None:
        raise NotImplementedError(f"no enclosure of {expression.func}")
    inner = _enclosure(expression.args[0])
    return lambda x: function(inner(x))


@cache
def _constant(number: sympy.Expr, precision: int) -> Ball:
    """A number, enclosed at the precision of the moment."""
    if number == sympy.pi:
        return iv.pi + 0
    if number == sympy.E:
        return iv.exp(iv.mpf(1))
    rational = sympy.Rational(number)
    return iv.mpf(int(rational.p)) / iv.mpf(int(rational.q))


def _power(expression: sympy.Pow) -> Callable[[Ball], Ball]:
    base, exponent = expression.args
    if base == sympy.E:
        power = _enclosure(exponent)
        return lambda x: iv.exp(power(x))
    inner = _enclosure(base)
    if isinstance(exponent, sympy.Integer):
        return lambda x: _integer_power(inner(x), int(exponent))
    if exponent == sympy.Rational(1, 2):
        return lambda x: iv.sqrt(inner(x))
    power = _enclosure(exponent)
    return lambda x: iv.exp(power(x) * iv.log(inner(x)))


def _integer_power(x: Ball, exponent: int) -> Ball:
    if exponent < 0:
        return 1 / _integer_power(x, -exponent)
    if exponent % 2 or x.a >= 0 or x.b <= 0:
        first, second = x.a**exponent, x.b**exponent
        return between(min(first.a, second.a), max(first.b, second.b)) if exponent else iv.mpf(1)
    return between(0, max((x.a**exponent).b, (x.b**exponent).b))
