"""Pieces, kinks, jumps and turns of formulas, beside what is known of these functions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import sympy
from sympy import Abs, Max, Min, Piecewise, Rational, erf, exp, log, oo, sign, sqrt, tanh

from boundgraph.operator import X
from boundgraph.scalar.exp_polynomials import Root
from boundgraph.scalar.facts import ActivationError, derive

# formula -> curvatures from left to right, where they change, and turns as (place, kind)
KNOWN: dict[str, tuple[Any, list[int], list[float], list[tuple[float, int]]]] = {
    "relu": (Max(X, 0), [0, 0], [0], []),
    "abs": (Abs(X), [0, 0], [0], [(0, -1)]),
    "elu": (Piecewise((X, X > 0), (exp(X) - 1, True)), [1, 0], [0], []),
    "hardswish": (X * Max(0, Min(6, X + 3)) / 6, [0, 1, 0], [-3, 3], [(-1.5, -1)]),
    "hardtanh": (Max(-1, Min(1, X)), [0, 0, 0], [-1, 1], []),
    "gelu": (X * (1 + erf(X / sqrt(2))) / 2, [-1, 1, -1], [-math.sqrt(2), math.sqrt(2)], [(-0.7517915246935645, -1)]),
    "softsign": (X / (1 + Abs(X)), [1, -1], [0], []),
    "cubic": (X**3 - X, [-1, 1], [0], [(-1 / math.sqrt(3), 1), (1 / math.sqrt(3), -1)]),
    "fourth power": (X**4, [1], [], [(0, -1)]),
    "bump": (exp(-(X**2)), [1, -1, 1], [-math.sqrt(0.5), math.sqrt(0.5)], [(0, 1)]),
    "rational": (X**3 / (1 + X**2), [1, -1, 1, -1], [-math.sqrt(3), 0, math.sqrt(3)], []),
    "logarithm": (log(X), [-1], [0], []),
    "reciprocal": (1 / X, [-1, 1], [0], []),
    "x log x": (X * log(X), [1], [0], [(math.exp(-1), -1)]),
    "cube root": (sign(X) * Abs(X) ** Rational(1, 3), [1, -1], [0], []),
    "squared softplus": (log(1 + exp(X)) ** 2, [1], [], []),
    "gaussian tail": (X - tanh(X), [-1, 1], [0], []),
    "hat": (Max(0, 1 - Abs(X)), [0, 0, 0, 0], [-1, 0, 1], [(0, 1)]),
}


def number(point: Any) -> float:
    return float((point.low + point.high) / 2) if isinstance(point, Root) else float(point)


@pytest.mark.parametrize("name", KNOWN)
def test_known_functions(name: str) -> None:
    formula, curvatures, cuts, turns = KNOWN[name]
    facts = derive(formula)
    assert [piece.curvature for piece in facts.pieces] == curvatures
    assert [number(cut.at) for cut in facts.cuts] == pytest.approx(cuts, abs=1e-15)
    found = sorted((number(turn.at), turn.kind) for turn in facts.turns)
    assert [kind for _, kind in found] == [kind for _, kind in turns]
    assert [at for at, _ in found] == pytest.approx([at for at, _ in turns], abs=1e-15)


def test_mish_to_thirty_digits() -> None:
    """Against an independent root search in high precision."""
    import mpmath

    facts = derive(X * tanh(log(1 + exp(X))))
    second = sympy.lambdify(X, sympy.diff(facts.formula, X, 2), "mpmath")
    with mpmath.workdps(40):
        for cut, start in zip(facts.cuts, (-2.2, 1.5), strict=True):
            cut.at.narrow(120)
            root = mpmath.findroot(second, start)
            assert abs(root - cut.at.low) < mpmath.mpf(10) ** -30
            assert cut.at.high - cut.at.low < mpmath.mpf(10) ** -30


def test_jumps_and_poles() -> None:
    (jump,) = derive(Piecewise((X, X > 1), (5, True))).cuts
    assert (jump.at, jump.left, jump.right, jump.jumps) == (1, 5, 1, True)
    (pole,) = derive(1 / X).cuts
    assert (pole.left, pole.right, pole.jumps) == (-oo, oo, True)
    (end,) = derive(sqrt(X)).cuts
    assert (end.left, end.right, end.jumps) == (None, 0, False)


def test_floats_in_a_formula_are_the_numbers_that_they_are() -> None:
    facts = derive(X / (1 + exp(-1.702 * X)))
    assert [piece.curvature for piece in facts.pieces] == [-1, 1, -1]


UNDECIDED = {
    "a kink at a number without a name": Max(tanh(X), X / 2),
    "a function without enclosure": X * sympy.gamma(X),
    "roots that are not known to be all": X * tanh(X * (1 + erf(X))),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_is_not_certain_is_an_error(name: str) -> None:
    with pytest.raises(ActivationError, match="no bounds can be derived from"):
        derive(UNDECIDED[name])
