"""The smooth formulas that a formula with branches is made of, and the intervals on which each has values."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import sympy
from mpmath import mp  # type: ignore[import-untyped]

from boundgraph.operator import X
from boundgraph.scalar.exp_polynomials import UndecidedError
from boundgraph.scalar.signs import signs

Point = Any  # an exact number, an infinity, or a Root

_ENTIRE = (sympy.exp, sympy.sin, sympy.cos, sympy.tanh, sympy.sinh, sympy.cosh, sympy.atan, sympy.asinh, sympy.erf)


def branches(
    formula: sympy.Expr, start: Point = -sympy.oo, end: Point = sympy.oo
) -> Iterator[tuple[sympy.Expr, Point, Point]]:
    """The smooth formulas that the formula is made of, each with the open interval on which it holds."""
    part = next((p for p in sympy.postorder_traversal(formula) if _switches(p)), None)
    if part is None:
        yield formula, start, end
        return
    zeros = {zero for switch in _switches(part) for zero in _zeros(switch, start, end)}
    for left, right in pairwise([start, *sorted(zeros, key=float), end]):
        branch = _branch(part, _rational_inside(left, right))
        if branch is not None:
            yield from branches(sympy.sympify(formula.xreplace({part: branch})), left, right)


def _switches(part: sympy.Basic) -> list[sympy.Expr]:
    """Expressions at whose zeros this part of a formula may change its branch or end."""
    if isinstance(part, sympy.Max | sympy.Min):
        return [first - second for i, first in enumerate(part.args) for second in part.args[i + 1 :]]
    if isinstance(part, sympy.Abs | sympy.sign | sympy.Heaviside):
        return [part.args[0]]
    if isinstance(part, sympy.Piecewise):
        relations = [r for _, condition in part.args for r in condition.atoms(sympy.core.relational.Relational)]
        return [relation.lhs - relation.rhs for relation in relations]
    if isinstance(part, sympy.tan | sympy.cot | sympy.sec | sympy.csc | sympy.floor | sympy.ceiling):
        raise UndecidedError(f"{part} breaks off infinitely often")
    return []


def parts_with_values(formula: sympy.Expr, start: Point, end: Point) -> Iterator[tuple[Point, Point]]:
    """The intervals on which a smooth formula has values: logarithms and roots want positive numbers."""
    wanted = []
    for part in sympy.preorder_traversal(formula):
        if isinstance(part, sympy.log):
            wanted.append(part.args[0])
        elif isinstance(part, sympy.Function) and not isinstance(part, _ENTIRE):
            raise UndecidedError(f"{part.func} is not among the functions whose domain is known")
        elif isinstance(part, sympy.Pow) and not (part.exp.is_integer and part.exp.is_nonnegative):
            wanted += [part.base] if part.base.has(X) and not part.base.is_positive else []
    zeros = {zero for base in wanted for zero in _zeros(base, start, end)}
    for left, right in pairwise([start, *sorted(zeros, key=float), end]):
        value = sympy.N(formula.subs(X, _rational_inside(left, right)), 40)
        if value.is_real:
            yield left, right


def _zeros(switch: sympy.Expr, start: Point, end: Point) -> list[sympy.Expr]:
    switch = sympy.expand(switch)
    if not switch.has(X):
        return []
    found = signs(switch, start, end).changes
    if not found and not switch.is_polynomial(X):
        return []
    solutions = sympy.solveset(switch, X, sympy.S.Reals)
    known = [s for s in solutions if start < s < end] if isinstance(solutions, sympy.FiniteSet) else []
    for root in found:
        with mp.workprec(260):  # the number that was found, rounded, lies in the enclosure or within rounding of it
            matches = [s for s in known if abs(sympy.N(s, 70)._to_mpmath(250) - root.low) <= 2 * (root.high - root.low)
                       + abs(root.low) * mp.mpf(2) ** -200]  # fmt: skip
        if len(matches) != 1:
            raise UndecidedError(f"where {switch} is 0, as an exact number")
    return known


def _rational_inside(start: Point, end: Point) -> sympy.Rational:
    if start == -sympy.oo:
        return sympy.Rational(0) if end == sympy.oo else sympy.floor(end) - 1
    if end == sympy.oo:
        return sympy.floor(start) + 1 + sympy.Rational(1, 3)
    return sympy.Rational(sympy.N((start + end) / 2, 40))


def _branch(part: sympy.Expr, sample: sympy.Rational) -> Any:
    """What a part with branches is around the sample; None where it has no value."""

    def at(value: sympy.Expr) -> Any:
        return sympy.N(value.subs(X, sample), 40)

    if isinstance(part, sympy.Piecewise):
        return next((value for value, condition in part.args if bool(condition.subs(X, sample))), None)
    if isinstance(part, sympy.Max | sympy.Min):
        return (max if isinstance(part, sympy.Max) else min)(part.args, key=at)
    positive = at(part.args[0]) > 0
    if isinstance(part, sympy.Abs):
        return part.args[0] if positive else -part.args[0]
    return sympy.Integer(1) if positive else sympy.Integer(-1 if isinstance(part, sympy.sign) else 0)
