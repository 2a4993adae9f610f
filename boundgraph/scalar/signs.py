"""The sign of an expression in `X` between its roots, all of which are isolated with certainty."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import sympy

from boundgraph.operator import X
from boundgraph.scalar.enclosures import ball, precise, sign_of
from boundgraph.scalar.exp_polynomials import ExpPolynomial, Root, UndecidedError, inside, roots, trimmed

_HYPERBOLIC = (sympy.tanh, sympy.sinh, sympy.cosh, sympy.sech, sympy.csch, sympy.coth)
# functions with the sign of something simpler: function -> (argument -> that)
_SIGN_OF_ARGUMENT = (sympy.atan, sympy.asinh, sympy.erf, sympy.tanh, sympy.sinh)


class Signs(NamedTuple):
    """Where an expression changes its sign inside an interval, and its signs between those points."""

    changes: tuple[Root, ...]
    signs: tuple[int, ...]  # one more than there are changes


def signs(expression: sympy.Expr, start: Any, end: Any) -> Signs:
    """Signs on the open interval from start to end, exact numbers or infinite.

    Raises:
        UndecidedError: a root cannot be isolated, or the expression is of a kind whose roots are not known to be all.
    """
    total, changes = 1, list[Root]()
    for factor, odd in _factors(expression):
        part = _signs_of_factor(factor, start, end)
        if part.signs == (0,):
            return part
        if odd:
            total *= part.signs[0]
            changes += part.changes
    changes = _in_order(changes)
    return Signs(tuple(changes), tuple(total * (-1) ** n for n in range(len(changes) + 1)))


def _in_order(changes: list[Root]) -> list[Root]:
    changes = sorted(changes, key=lambda root: root.low)
    for first, second in pairwise(changes):
        for bits in (64, 128, 256):
            if first.high < second.low:
                break
            first.narrow(bits)
            second.narrow(bits)
        else:
            raise UndecidedError("two roots that cannot be told apart")
    return changes


def _factors(expression: sympy.Expr) -> Iterable[tuple[sympy.Expr, bool]]:
    """The factors of numerator and denominator, and whether they count an odd number of times."""
    form = algebraic(expression)
    numerator, denominator = sympy.fraction(sympy.together(form.expression))
    for part in (numerator, denominator):
        content, found = sympy.factor_list(part, *form.generators) if form.generators else (part, [])
        yield form.restored(content), True
        for factor, power in found:
            yield form.restored(factor), bool(power % 2)


class Algebraic(NamedTuple):
    """An expression whose exponentials and constants are symbols, so that it can be factored fast."""

    expression: sympy.Expr
    meaning: dict[sympy.Symbol, sympy.Expr]

    @property
    def generators(self) -> list[sympy.Symbol]:
        return sorted(self.expression.free_symbols, key=str)

    def restored(self, part: sympy.Expr) -> sympy.Expr:
        return sympy.sympify(part).xreplace(self.meaning)


def algebraic(expression: sympy.Expr) -> Algebraic:
    """Exponentials, irrational numbers and other functions replaced by symbols e0, c1, t2 and so on."""
    rewritten = sympy.expand_power_exp(exact(expression).rewrite(_HYPERBOLIC, sympy.exp))
    meaning: dict[sympy.Symbol, sympy.Expr] = {}
    arguments = sorted({atom.args[0] for atom in rewritten.atoms(sympy.exp)}, key=sympy.default_sort_key)
    replaced: dict[sympy.Expr, sympy.Expr] = {}
    for group in _commensurate([a for a in arguments if a.has(X)]):
        base = group[0] / sympy.lcm([(argument / group[0]).q for argument in group])
        symbol = sympy.Symbol(f"e{len(meaning)}", positive=True)
        meaning[symbol] = sympy.exp(base)
        for argument in group:
            replaced[sympy.exp(argument)] = symbol ** int(sympy.Rational(sympy.simplify(argument / base)))
    result = rewritten.xreplace(replaced)
    for constant in _constants(result):
        symbol = sympy.Symbol(f"c{len(meaning)}", positive=True if constant.is_positive else None)
        meaning[symbol] = constant
        result = result.xreplace({constant: symbol})
    for atom in _opaque(result):
        symbol = sympy.Symbol(f"t{len(meaning)}", real=True, positive=_is_positive(atom) or None)
        meaning[symbol] = atom.xreplace(meaning)
        result = result.xreplace({atom: symbol})
    return Algebraic(result, meaning)


def exact(expression: sympy.Expr) -> sympy.Expr:
    """With rational numbers in the place of floating-point ones, which are rational too."""
    return expression.xreplace({number: sympy.Rational(number) for number in expression.atoms(sympy.Float)})


def _commensurate(arguments: list[sympy.Expr]) -> list[list[sympy.Expr]]:
    groups: list[list[sympy.Expr]] = []
    for argument in arguments:
        for group in groups:
            if sympy.simplify(argument / group[0]).is_Rational:
                group.append(argument)
                break
        else:
            groups.append([argument])
    return [[sympy.simplify(a / g[0]) * g[0] for a in g] for g in groups]


def _constants(expression: sympy.Expr) -> list[sympy.Expr]:
    """The numbers in an expression that are not rational, largest first."""
    found = [
        part
        for part in sympy.preorder_traversal(expression)
        if part.is_number and not part.is_Rational and not isinstance(part, sympy.Add | sympy.Mul)
    ]
    return list(dict.fromkeys(found))


def _opaque(expression: sympy.Expr) -> list[sympy.Expr]:
    """Functions and roots of expressions in X: they are factored as if they were symbols."""
    found = []
    for part in sympy.preorder_traversal(expression):
        if part.free_symbols and (
            isinstance(part, sympy.Function) or (isinstance(part, sympy.Pow) and not part.exp.is_Integer)
        ):
            found.append(part)
    return list(dict.fromkeys(found))


def _is_positive(atom: sympy.Expr) -> bool:
    if isinstance(atom, sympy.log):
        return bool((atom.args[0] - 1).is_positive)
    return bool(atom.is_positive)


def _signs_of_factor(factor: sympy.Expr, start: Any, end: Any) -> Signs:
    if not factor.has(X):
        if factor == 0:
            return Signs((), (0,))
        with precise():
            sign = sign_of(ball(factor))
        if sign is None:
            raise UndecidedError(f"whether {factor} is 0")
        return Signs((), (sign,))
    if factor.is_positive or factor.is_negative:
        return Signs((), (1 if factor.is_positive else -1,))
    if isinstance(factor, sympy.Pow) and not factor.exp.is_Integer:
        return Signs((), (1,))  # where it is real
    if isinstance(factor, sympy.log):
        return signs(factor.args[0] - 1, start, end)  # log a has the sign of a - 1
    if isinstance(factor, _SIGN_OF_ARGUMENT):
        return signs(factor.args[0], start, end)
    polynomial = as_exp_polynomial(factor)
    if polynomial is None:
        raise UndecidedError(f"the roots of {factor}")
    with precise():
        changes = roots(polynomial, start, end)
        first = _first_sign(polynomial, changes, start, end)
    return Signs(tuple(changes), tuple(first * (-1) ** n for n in range(len(changes) + 1)))


def _first_sign(polynomial: ExpPolynomial, changes: list[Root], start: Any, end: Any) -> int:
    sign = sign_of(polynomial.at(ball(inside(start, changes[0] if changes else end))))
    if sign is None:
        raise UndecidedError("the sign of a function near its root")
    return sign


def as_exp_polynomial(expression: sympy.Expr) -> ExpPolynomial | None:
    """The expression as a sum of polynomials times exponentials of polynomials, or None."""
    terms: dict[tuple, dict[int, sympy.Expr]] = {}
    for term in sympy.Add.make_args(sympy.expand(expression)):
        coefficient, power, exponent = sympy.Integer(1), 0, sympy.Integer(0)
        for part in sympy.Mul.make_args(term):
            base, by = part.as_base_exp()
            if isinstance(part, sympy.exp):
                exponent += part.args[0]
            elif not part.has(X):
                coefficient *= part
            elif base == X and by.is_Integer and by > 0:
                power += int(by)
            else:
                return None
        argument = _coefficients(exponent)
        if argument is None:
            return None
        if argument and argument[0] != 0:
            coefficient *= sympy.exp(argument[0])
            argument = trimmed([0, *argument[1:]])
        powers = terms.setdefault(argument, {})
        powers[power] = powers.get(power, sympy.Integer(0)) + coefficient
    found = []
    for argument, powers in terms.items():
        coefficients = trimmed([powers.get(n, 0) for n in range(max(powers) + 1)])
        if coefficients:
            found.append((argument, coefficients))
    return ExpPolynomial(tuple(found))


def _coefficients(polynomial: sympy.Expr) -> tuple[sympy.Expr, ...] | None:
    if not polynomial.has(X):
        return trimmed([polynomial])
    try:
        found = sympy.Poly(polynomial, X).all_coeffs()
    except sympy.PolynomialError:
        return None
    return trimmed(list(reversed(found)))
