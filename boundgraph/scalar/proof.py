"""Proofs of what the rules of a scalar activation rest on, by interval arithmetic with outward rounding.

The facts were found by one method, counting roots with Rolle's theorem; here they are checked by another: the line is
cut into small boxes, and on each the second derivative is enclosed. Near an inflection the third derivative has one
sign, so there is no second root; beyond a far point the fastest term decides. What the rules then give for a number of
intervals is held against the formula, again box by box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import sympy
import torch
from mpmath import mp  # type: ignore[import-untyped]

from boundgraph import operator as operators
from boundgraph.operator import Operator, X
from boundgraph.scalar.activation import facts_of, is_derived, rules_of
from boundgraph.scalar.enclosures import Ball, ball, between, enclose, precise, sign_of
from boundgraph.scalar.exp_polynomials import Root, number
from boundgraph.scalar.facts import ActivationError, Facts, Piece, derive
from boundgraph.scalar.gaps import ProofError, boxes, derivative, intervals, lines, number_or_infinity, simpler
from boundgraph.scalar.shape import Shape, shape_of
from boundgraph.scalar.signs import signs

_FAR, _SPLITS = 8, 4000


class Proof(NamedTuple):
    """What was shown of an activation, one sentence each."""

    activation: str
    claims: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.activation}:", *(f"  {claim}" for claim in self.claims)])


def prove(activation: Operator | str, *values: Any) -> Proof:
    """Check that constants, pieces and rules of a scalar activation are right, on the whole real line.

    values: of the parameters, if not the default ones.

    Raises:
        ProofError: some claim is false or cannot be confirmed; names it.
        ActivationError: the operator has no formula.
    """
    op = _operator(activation)
    if is_derived(op):
        rules = rules_of(op, *values)
        facts, shape = facts_of(op, *values), rules.shape
        interval, relax = rules.interval, rules.relax
    elif op.definition is not None and op.relax is not None:
        facts, interval, relax = derive(op.definition), op.interval, op.relax
        shape = shape_of(facts, op.forward)
    else:
        raise ActivationError(f"operator {op.name!r} is not a scalar function with a formula")
    return Proof(op.name, tuple(claims_shown(facts, shape, interval, relax)))


def claims_shown(facts: Facts, shape: Shape, interval: Any, relax: Any) -> Iterator[str]:
    """Each claim once it has been shown."""
    with precise(), mp.workprec(260):
        for piece in facts.pieces:
            yield _curvature(piece)
        yield from _constants(facts, shape)
        yield _code(facts, shape)
        somewhere = boxes(facts, shape)
        yield intervals(facts, somewhere, interval(somewhere))
        yield lines(facts, somewhere, relax(somewhere))


def _operator(activation: Operator | str) -> Operator:
    if isinstance(activation, Operator):
        return activation
    found = [op for op in operators.registered() if op.name == activation]
    if not found:
        raise ActivationError(f"no operator is called {activation!r}")
    return found[-1]


# ---------------------------------------------------------------------- pieces


def _curvature(piece: Piece) -> str:
    second = derivative(piece.formula, 2)
    what = f"from {_shown(piece.start)} to {_shown(piece.end)}"
    if piece.curvature == 0:
        if sympy.simplify(second) != 0:
            raise ProofError(f"{piece.formula} is not straight {what}")
        return f"straight {what}"
    kind = "convex" if piece.curvature > 0 else "concave"
    start, end = (_inward(piece, second, point, side) for point, side in ((piece.start, 1), (piece.end, -1)))
    if start < end and not _has_sign(second, start, end, piece.curvature):
        raise ProofError(f"{piece.formula} is not {kind} {what}")
    return f"{kind} {what}"


def _inward(piece: Piece, second: sympy.Expr, point: Any, side: int) -> Any:
    """A number up to which, from an end of the piece inwards, the curvature is shown to be as claimed."""
    exact = point.exact if isinstance(point, Root) else point
    if exact in (sympy.oo, -sympy.oo):
        distance = _FAR if all(abs(end) < _FAR / 2 for end in _finite_ends(piece)) else _FAR**2
        far = -side * mp.mpf(distance)
        around = (sympy.Rational(distance), exact) if side < 0 else (exact, sympy.Rational(-distance))
        if signs(second, *around) != ((), (piece.curvature,)):
            raise ProofError(f"{piece.formula} does not keep its curvature towards {exact}")
        return far
    at, third = number(point, side), derivative(piece.formula, 3)
    for power in range(3, 40):
        near = at + side * mp.mpf(2) ** -power
        box = between(min(at, near), max(at, near))
        if _sign(second, box) == piece.curvature:
            return near
        # sound: the second derivative is 0 at this end and monotone beside it
        zero = isinstance(point, Root) or second.subs(X, point) == 0
        if zero and _sign(third, box) == piece.curvature * side:
            return near
    # towards a pole or the end of a root's domain: box by box, nearer than any float but the end itself lies to it
    steps = [at + side * mp.mpf(2) ** -power for power in range(3, 80 if at else 1080)]
    boxes = (between(min(pair), max(pair)) for pair in pairwise(steps))
    if exact is not None and all(_sign(second, box) == piece.curvature for box in boxes):
        return steps[0]
    raise ProofError(f"{piece.formula} does not have the curvature {piece.curvature} beside {_shown(point)}")


def _finite_ends(piece: Piece) -> list[Any]:
    return [end for p in (piece.start, piece.end) if mp.isfinite(end := number_or_infinity(p, 1))]


def _sign(expression: sympy.Expr, x: Ball) -> int | None:
    try:
        return sign_of(enclose(expression, x))
    except (ValueError, ZeroDivisionError):  # outside of the domain of a root or logarithm
        return None


def _has_sign(expression: sympy.Expr, start: Any, end: Any, sign: int) -> bool:
    """Whether the expression has the sign, or is 0, on the interval; shown on boxes, smaller where it is close."""
    slope, waiting = simpler(sympy.diff(expression, X)), [(start, end)]
    for _ in range(_SPLITS):
        if not waiting:
            return True
        low, high = waiting.pop()
        x, middle = between(low, high), (low + high) / 2
        value = sign * enclose(expression, x)
        if not value.a >= 0:  # mean value theorem
            value = sign * (enclose(expression, ball(middle)) + enclose(slope, x) * (x - ball(middle)))
        if value.b < 0:
            return False
        if not value.a >= 0:
            waiting += [(low, middle), (middle, high)]
    return False


# ---------------------------------------------------------------------- constants and code


def _constants(facts: Facts, shape: Shape) -> Iterator[str]:
    for kind, points in ((1, shape.maxima), (-1, shape.minima)):
        for point in points:
            before, after = (_slope_beside(facts, math.nextafter(point, way), way) for way in (-math.inf, math.inf))
            if (before, after) != (kind, -kind):
                raise ProofError(f"{facts.formula} has no {'maximum' if kind > 0 else 'minimum'} at {point!r}")
            yield f"turns at {point!r}, to the last digit"
    claimed = len(shape.maxima) + len(shape.minima)
    jumps = {jump.at for jump in shape.jumps}
    changes = _sign_changes(facts, jumps)
    if claimed != changes:
        raise ProofError(f"{facts.formula} turns {changes} times, not {claimed}")
    yield f"turns nowhere else: the slope is monotone on each piece and has {changes} changes of sign"
    for piece, curved in zip([p for p in facts.pieces if p.curvature], shape.curved, strict=True):
        for exact, found in ((piece.start, curved.start), (piece.end, curved.end)):
            if not _is_nearest(exact, found):
                raise ProofError(f"a piece of {facts.formula} ends at {_shown(exact)}, not at {found!r}")
        if curved.convex != (piece.curvature > 0):
            raise ProofError(f"a piece of {facts.formula} from {curved.start} has the wrong curvature")
    yield "ends of pieces are right to the last digit"


def _is_nearest(exact: Any, found: float) -> bool:
    if not isinstance(exact, Root) and exact in (sympy.oo, -sympy.oo):
        return float(exact) == found
    low, high = (number(exact, side) for side in (-1, 1))
    return mp.mpf(math.nextafter(found, -math.inf)) <= low and high <= mp.mpf(math.nextafter(found, math.inf))


def _slope_beside(facts: Facts, at: float, way: float) -> int | None:
    for piece in facts.pieces:
        if number_or_infinity(piece.start, -1) <= at <= number_or_infinity(piece.end, 1):
            with precise(1300), mp.workprec(1300):  # so that 1 + 5e-324 is not 1
                found = _sign(sympy.diff(piece.formula, X), ball(mp.mpf(at)))
            if found is not None:
                return found
    return None


def _sign_changes(facts: Facts, jumps: set[float]) -> int:
    """How often the slope changes its sign, by its signs at the ends of the pieces, on each of which it is monotone."""
    count, last = 0, 0
    for piece in facts.pieces:
        slope = derivative(piece.formula, 1)
        start, end = number_or_infinity(piece.start, 1), number_or_infinity(piece.end, -1)
        if math.isfinite(start) and float(start) in jumps:
            last = 0
        inner = [max(start, -(mp.mpf(10) ** 6)), min(end, mp.mpf(10) ** 6)]
        share = [mp.mpf(2) ** -30, 1 - mp.mpf(2) ** -30]
        for part in share:
            sign = _sign(slope, ball(inner[0] + part * (inner[1] - inner[0]))) or 0
            if sign and last and sign != last:
                count += 1
            last = sign or last
    return count


def _code(facts: Facts, shape: Shape) -> str:
    """The tensor code of function and slopes against enclosures of the formulas."""
    for piece in facts.pieces:
        start, end = (max(-50.0, min(50.0, float(number_or_infinity(p, s)))) for p, s in
                      ((piece.start, 1), (piece.end, -1)))  # fmt: skip
        points = torch.linspace(start, end, 13, dtype=torch.float64)[1:-1]
        slope = shape.slope_at(points)
        for name, formula, found in (("function", piece.formula, shape.function(points)),
                                     ("slope", derivative(piece.formula, 1), slope)):  # fmt: skip
            for x, value in zip(points.tolist(), found.tolist(), strict=True):
                exact = enclose(formula, ball(mp.mpf(x)))
                allowed = 1e-12 * max(1.0, abs(float(exact.mid)), abs(x))
                if not (exact.a - allowed <= value <= exact.b + allowed):
                    raise ProofError(
                        f"the {name} of {facts.formula} at {x!r} is {exact.mid}, but computed as {value!r}"
                    )
    return "function and slopes are computed as the formula says, to 12 digits, at eleven points of each piece"


def _shown(point: Any) -> str:
    return f"{float(point.low):.15g}" if isinstance(point, Root) else str(point)
