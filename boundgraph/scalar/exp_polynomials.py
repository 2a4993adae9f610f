"""Real roots of sums of polynomials times exponentials of polynomials, all of them, with certainty.

h = sum_i P_i exp(q_i) has the roots of h exp(-q_0), whose derivative has one power less in its first polynomial. So
the roots of derivatives, found first, cut the line into pieces on which h is monotone and has one root at most (Rolle);
signs at the cuts, in interval arithmetic, and at infinity, where the fastest term wins, say where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sympy
from mpmath import mp  # type: ignore[import-untyped]

from boundgraph.operator import X
from boundgraph.scalar.enclosures import PRECISION, Ball, ball, between, enclose, precise, sign_of

Coefficients = tuple[sympy.Expr, ...]  # lowest power first, the last not 0


class UndecidedError(Exception):
    """A sign that interval arithmetic cannot tell, such as at a double root."""


@dataclass(frozen=True)
class ExpPolynomial:
    """sum of P_i exp(q_i), as pairs (q_i without constant term, P_i)."""

    terms: tuple[tuple[Coefficients, Coefficients], ...]

    @property
    def is_zero(self) -> bool:
        return not self.terms

    def expression(self) -> sympy.Expr:
        return sympy.Add(*(_polynomial(p) * sympy.exp(_polynomial(q)) for q, p in self.terms))

    def at(self, x: Ball) -> Ball:
        return sum((_value(p, x) * enclose(sympy.exp(_polynomial(q)), x) for q, p in self.terms), ball(0))

    def reduced(self) -> ExpPolynomial:
        """Divided by the exponential of the term with the lowest degree, which comes first."""
        terms = sorted(self.terms, key=lambda term: (len(term[1]), len(term[0])))
        first = terms[0][0]
        return ExpPolynomial(tuple((_minus(q, first), p) for q, p in terms))

    def derivative(self) -> ExpPolynomial:
        found = ((q, _plus(_derivative(p), _times(_derivative(q), p))) for q, p in self.terms)
        return ExpPolynomial(tuple((q, p) for q, p in found if p))

    def fastest(self, side: int) -> tuple[Coefficients, Coefficients]:
        """The term (q, P) that outgrows all others far to the right (side 1) or to the left (side -1)."""
        fastest = self.terms[0]
        for term in self.terms[1:]:
            if _far_sign(_minus(term[0], fastest[0]), side) > 0:
                fastest = term
        return fastest

    def sign_at_infinity(self, side: int) -> int:
        """The sign of all values far enough out."""
        return _far_sign(self.fastest(side)[1], side)


def limit_of_quotient(numerator: ExpPolynomial, denominator: ExpPolynomial, side: int) -> sympy.Expr:
    """The limit at infinity, which the fastest terms decide."""
    if numerator.is_zero:
        return sympy.Integer(0)
    (q, top), (r, bottom) = numerator.fastest(side), denominator.fastest(side)
    growth = _far_sign(_minus(q, r), side) or len(top) - len(bottom)
    if growth == 0:
        return top[-1] / bottom[-1]
    return sympy.oo * _far_sign(top, side) * _far_sign(bottom, side) if growth > 0 else sympy.Integer(0)


def _polynomial(coefficients: Coefficients) -> sympy.Expr:
    return sympy.Add(*(c * X**n for n, c in enumerate(coefficients)))


def _value(coefficients: Coefficients, x: Ball) -> Ball:
    total = ball(0)
    for coefficient in reversed(coefficients):
        total = total * x + ball(coefficient)
    return total


def trimmed(coefficients: list[Any]) -> Coefficients:
    """Without leading zeros. Whether a constant is 0 is decided exactly."""
    found = [sympy.sympify(c) for c in coefficients]
    while found and (found[-1] == 0 or found[-1].equals(0)):
        found.pop()
    return tuple(found)


def _plus(first: Coefficients, second: Coefficients) -> Coefficients:
    size = max(len(first), len(second))
    padded = ([*part, *[0] * (size - len(part))] for part in (first, second))
    return trimmed([sympy.expand(a + b) for a, b in zip(*padded, strict=True)])


def _minus(first: Coefficients, second: Coefficients) -> Coefficients:
    return _plus(first, tuple(-c for c in second))


def _times(first: Coefficients, second: Coefficients) -> Coefficients:
    product = [sympy.Integer(0)] * max(0, len(first) + len(second) - 1)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            product[i + j] += a * b
    return trimmed(product)


def _derivative(coefficients: Coefficients) -> Coefficients:
    return trimmed([n * c for n, c in enumerate(coefficients)][1:])


def _far_sign(coefficients: Coefficients, side: int) -> int:
    if not coefficients:
        return 0
    sign = sign_of(ball(coefficients[-1]))
    if sign is None:
        raise UndecidedError("a constant cannot be told from 0")
    return sign * (side ** (len(coefficients) - 1))


class Root:
    """A simple root, between two numbers at which the function has opposite signs; enclosed as narrowly as asked."""

    def __init__(self, function: Any, low: Any, high: Any, rising: bool) -> None:
        self.function, self.low, self.high, self.rising = function, low, high, rising
        if low < 0 < high and function.expression().subs(X, 0) == 0:
            self.low = self.high = mp.mpf(0)
        self.exact = sympy.Integer(0) if self.low == self.high == 0 else None
        self.narrow(64)

    def narrow(self, bits: int) -> None:
        """Halve the enclosure until it is 2^-bits as wide as it is far from 0. A root at 0 is known exactly."""
        with mp.workprec(bits + 60), precise(bits + 60):
            while self.high - self.low > mp.mpf(2) ** -bits * max(abs(self.low), abs(self.high)):
                middle = (self.low + self.high) / 2
                sign = sign_of(self.function.at(ball(middle)))
                if sign is None:  # the root itself, as near as can be told
                    around = (self.high - self.low) / 8
                    left, right = (self.function.at(ball(middle + side * around)) for side in (-1, 1))
                    if sign_of(left) is None or sign_of(left) == sign_of(right):
                        raise UndecidedError("a root that cannot be told from a point where nothing changes")
                    self.low, self.high = middle - around, middle + around
                elif (sign > 0) == self.rising:
                    self.high = middle
                else:
                    self.low = middle

    @property
    def enclosure(self) -> Ball:
        return between(self.low, self.high)


def roots(function: ExpPolynomial, start: Any, end: Any) -> list[Root]:
    """The simple roots in the open interval, in order; start and end are exact numbers or infinite.

    Raises:
        UndecidedError: a root of higher order, or an end that is one.
    """
    if function.is_zero:
        raise UndecidedError("the function is 0 everywhere")
    function = function.reduced()
    if len(function.terms) == 1 and len(function.terms[0][1]) == 1:
        return []
    cuts = roots(function.derivative(), start, end)
    found = []
    for left, right in pairwise([start, *cuts, end]):
        middle = inside(left, right)
        first, last = _sign_beside(function, left, 1, middle), _sign_beside(function, right, -1, middle)
        if first * last < 0:
            found.append(Root(function, *_bracket(function, left, right, first), rising=last > 0))
    return found


def roots_of_monotone(function: Any, start: Any, end: Any, first: int) -> Root:
    """The only root of a monotone function that has the sign `first` beside start and the other one beside end."""
    return Root(function, *_bracket(function, start, end, first), rising=first < 0)


def _sign_beside(function: ExpPolynomial, point: Any, side: int, middle: Any) -> int:
    """The sign right (side 1) or left of a cut, on a piece where the function is monotone; `middle` lies in it."""
    if isinstance(point, Root):
        for bits in (64, 128, 256):
            point.narrow(bits)
            with precise(bits + 60):
                sign = sign_of(function.at(point.enclosure))
            if sign is not None:
                return sign
        raise UndecidedError("a root of higher order")
    if point in (sympy.oo, -sympy.oo):
        return function.sign_at_infinity(-side)
    exact = function.expression().subs(X, point)
    sign = sign_of(ball(exact)) if exact != 0 else None
    if sign is not None:
        return sign
    if exact != 0 and exact.equals(0) is not True:
        raise UndecidedError(f"whether there is a root at {point}")
    # a root at the end of a piece on which the function is monotone: all of the piece has the sign of its middle
    sign = sign_of(function.at(ball(middle)))
    if sign is None:
        raise UndecidedError(f"a root of higher order at {point}")
    return sign


def number(point: Any, side: int) -> Any:
    """A point as a number of mpmath: of a root the end of its enclosure that lies on the side."""
    if isinstance(point, Root):
        return point.high if side > 0 else point.low
    with mp.workprec(PRECISION):
        return sympy.N(point, 60)._to_mpmath(PRECISION)


def inside(left: Any, right: Any) -> Any:
    if left == -sympy.oo and right == sympy.oo:
        return mp.mpf(0)
    if left == -sympy.oo:
        return number(right, -1) - 1
    if right == sympy.oo:
        return number(left, 1) + 1
    return (number(left, 1) + number(right, -1)) / 2


def _bracket(function: Any, left: Any, right: Any, first: int) -> tuple[Any, Any]:
    """Two numbers of the piece at which the function has its signs at the two ends."""

    def towards(point: Any, other: Any, side: int, wanted: int) -> Any:
        start = inside(left, right)
        for step in range(2000):
            if point in (sympy.oo, -sympy.oo):
                at = start + (1 if point == sympy.oo else -1) * mp.mpf(2) ** step
            else:
                near = number(point, side)
                at = near + (start - near) * mp.mpf(2) ** -step
            if sign_of(function.at(ball(at))) == wanted:
                return at
        raise UndecidedError("a root too close to an end")

    with mp.workprec(PRECISION + 60), precise(PRECISION + 60):
        return towards(left, right, 1, first), towards(right, left, -1, -first)
