"""Proofs of what the rules of a scalar activation rest on, by interval arithmetic with outward rounding.

The facts were found by one method, counting roots with Rolle's theorem; here they are checked by another: the line is
cut into small boxes, and on each the second derivative is enclosed. Near an inflection the third derivative has one
sign, so there is no second root; beyond a far point the fastest term decides. What the rules then give for a number of
intervals is held against the formula, again box by box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import sympy
import torch
from mpmath import mp  # type: ignore[import-untyped]
from torch import Tensor

from boundgraph import operator as operators
from boundgraph.operator import Operator, X
from boundgraph.scalar.activation import facts_of, is_derived, rules_of
from boundgraph.scalar.enclosures import Ball, ball, between, enclose, precise, sign_of
from boundgraph.scalar.exp_polynomials import Root, number
from boundgraph.scalar.facts import ActivationError, Facts, Piece, derive
from boundgraph.scalar.shape import Shape, shape_of
from boundgraph.scalar.signs import algebraic, signs
from boundgraph.values import Interval, Relaxation

_FAR, _SPLITS, _ROUNDINGS = 8, 4000, 16


class ProofError(ActivationError):
    """A claim about an activation that is false, or that interval arithmetic cannot confirm."""


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
        boxes = _boxes(facts, shape)
        yield _intervals(facts, boxes, interval(boxes))
        yield _lines(facts, boxes, relax(boxes))


def _operator(activation: Operator | str) -> Operator:
    if isinstance(activation, Operator):
        return activation
    found = [op for op in operators.registered() if op.name == activation]
    if not found:
        raise ActivationError(f"no operator is called {activation!r}")
    return found[-1]


# ---------------------------------------------------------------------- pieces


def _curvature(piece: Piece) -> str:
    second = _derivative(piece.formula, 2)
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
    at, third = number(point, side), _derivative(piece.formula, 3)
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


@cache
def _derivative(formula: sympy.Expr, order: int) -> sympy.Expr:
    return _simpler(sympy.diff(formula, X, order))


def _simpler(expression: sympy.Expr) -> sympy.Expr:
    """With numerator and denominator factored, so that enclosures lose little to cancellation."""
    form = algebraic(expression)
    return form.restored(sympy.factor(sympy.together(form.expression)))


def _sign(expression: sympy.Expr, x: Ball) -> int | None:
    try:
        return sign_of(enclose(expression, x))
    except (ValueError, ZeroDivisionError):  # outside of the domain of a root or logarithm
        return None


def _has_sign(expression: sympy.Expr, start: Any, end: Any, sign: int) -> bool:
    """Whether the expression has the sign, or is 0, on the interval; shown on boxes, smaller where it is close."""
    slope, waiting = _simpler(sympy.diff(expression, X)), [(start, end)]
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


def number_or_infinity(point: Any, side: int) -> Any:
    if not isinstance(point, Root) and point in (sympy.oo, -sympy.oo):
        return mp.inf if point == sympy.oo else -mp.inf
    return number(point, side)


def _sign_changes(facts: Facts, jumps: set[float]) -> int:
    """How often the slope changes its sign, by its signs at the ends of the pieces, on each of which it is monotone."""
    count, last = 0, 0
    for piece in facts.pieces:
        slope = _derivative(piece.formula, 1)
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
                                     ("slope", _derivative(piece.formula, 1), slope)):  # fmt: skip
            for x, value in zip(points.tolist(), found.tolist(), strict=True):
                exact = enclose(formula, ball(mp.mpf(x)))
                allowed = 1e-12 * max(1.0, abs(float(exact.mid)), abs(x))
                if not (exact.a - allowed <= value <= exact.b + allowed):
                    raise ProofError(
                        f"the {name} of {facts.formula} at {x!r} is {exact.mid}, but computed as {value!r}"
                    )
    return "function and slopes are computed as the formula says, to 12 digits, at eleven points of each piece"


# ---------------------------------------------------------------------- rules


def _boxes(facts: Facts, shape: Shape) -> Interval:
    """Intervals on and around all special points, and far from them."""
    points = {0.0, *shape.maxima, *shape.minima, *(p for change in shape.mixed for p in change)}
    points |= {*shape.ridges, *shape.valleys, *(jump.at for jump in shape.jumps)}
    first, last = shape.domain
    found = []
    for point in sorted(points):
        for left, right in ((1.0, 1.5), (0.1, 3.0), (6.0, 0.4), (0.0, 1.0), (1e-3, 2e-3), (15.0, 20.0)):
            found.append((point - left, point + right))
    found += [(3.0, 4.0), (-4.0, -3.0), (30.0, 40.0), (-40.0, -30.0), (-200.0, 300.0)]
    poles = [jump.at for jump in shape.jumps if math.inf in (abs(jump.left), abs(jump.right))]
    kept = [(max(low, first), min(high, last)) for low, high in found]
    kept = [(low, high) for low, high in kept if low < high and not any(low <= pole <= high for pole in poles)]
    infinite = [p for p in (first, last) if math.isfinite(p) and not math.isfinite(_value(shape, p))]
    kept = [(low, high) for low, high in kept if low not in infinite and high not in infinite]
    ends = torch.tensor(kept or [(max(first, 0.5), 1.5)], dtype=torch.float64)
    small = _finite(shape, ends)
    return Interval(*(end.unsqueeze(1) for end in ends[small].unbind(1)))


def _value(shape: Shape, x: float) -> float:
    return float(shape.function(torch.tensor([x], dtype=torch.float64)))


def _finite(shape: Shape, ends: Tensor) -> Tensor:
    values = shape.function(ends)
    return (values.isfinite() & (values.abs() < 1e12)).all(1)


def _intervals(facts: Facts, boxes: Interval, found: Interval) -> str:
    for low, high, least, most in _rows(boxes, found):
        for line, sign in ((least, 1), (most, -1)):
            _require_side(facts, low, high, 0.0, line, sign, "an interval")
    return f"intervals enclose the function on {len(boxes.lower)} boxes around all special points and far from them"


def _lines(facts: Facts, boxes: Interval, found: Relaxation) -> str:
    for (slope, intercept), sign in zip(found, (1, -1), strict=True):
        intercept = torch.zeros_like(slope) if intercept is None else intercept
        for low, high, k, b in zip(*(part.expand_as(boxes.lower).flatten().tolist() for part in
                                     (boxes.lower, boxes.upper, slope, intercept)), strict=True):  # fmt: skip
            _require_side(facts, low, high, k, b, sign, "a line")
    return f"lines enclose the function on {len(boxes.lower)} boxes around all special points and far from them"


def _rows(boxes: Interval, found: Interval) -> Iterator[tuple[float, ...]]:
    return zip(*(part.flatten().tolist() for part in (boxes.lower, boxes.upper, found.lower, found.upper)), strict=True)


def _require_side(facts: Facts, low: float, high: float, slope: float, intercept: float, sign: int, what: str) -> None:
    """sign (f(x) - slope x - intercept) >= -rounding on the whole interval."""
    for piece in facts.pieces:
        start = max(mp.mpf(low), number_or_infinity(piece.start, 1))
        end = min(mp.mpf(high), number_or_infinity(piece.end, -1))
        if start < end and not _Gap(piece, slope, intercept, sign).stays_open(start, end):
            raise ProofError(f"{what} of {facts.formula} on [{low!r}, {high!r}] is not shown to enclose it")


class _Gap:
    """g(x) = sign (f(x) - slope x - intercept) on a piece, the curvature of which has been shown."""

    def __init__(self, piece: Piece, slope: float, intercept: float, sign: int) -> None:
        self.formula, self.first = piece.formula, _derivative(piece.formula, 1)
        self.slope, self.intercept, self.sign = mp.mpf(slope), mp.mpf(intercept), sign
        self.convex = piece.curvature * sign > 0

    def at(self, x: Any) -> Ball:
        return self.sign * (enclose(self.formula, ball(x)) - ball(self.slope) * ball(x) - ball(self.intercept))

    def slope_at(self, x: Any) -> Ball:
        return self.sign * (enclose(self.first, ball(x)) - ball(self.slope))

    def stays_open(self, start: Any, end: Any) -> bool:
        """Whether g is nowhere below 0 by more than rounding."""
        # of the largest number that enters, and that may be x itself, as in x - tanh(x)
        size = max(abs(enclose(self.formula, ball(x)).mid) + (1 + abs(self.slope)) * abs(x) for x in (start, end))
        epsilon, tiny = torch.finfo(torch.float64).eps, torch.finfo(torch.float64).tiny
        rounding = _ROUNDINGS * epsilon * (float(size.b) + abs(float(self.intercept))) + tiny
        least = min(self.at(start).a, self.at(end).a, key=lambda value: value.a)
        if self.convex:
            low, high = self._around_minimum(start, end)
            # sound: g lies above its tangent, and beyond `high` it rises
            least = min(least, (self.at(low) + self.slope_at(low) * (ball(high) - ball(low))).a, key=lambda v: v.a)
        return bool(least >= -rounding)

    def _around_minimum(self, start: Any, end: Any) -> tuple[Any, Any]:
        """Two numbers close to each other with the minimum between them; both an end if it is there."""
        if sign_of(self.slope_at(start + (end - start) * mp.mpf(2) ** -100)) != -1:
            return start + (end - start) * mp.mpf(2) ** -100, start + (end - start) * mp.mpf(2) ** -100
        low, high = start + (end - start) * mp.mpf(2) ** -100, end
        for _ in range(70):
            middle = (low + high) / 2
            if sign_of(self.slope_at(middle)) == -1:
                low = middle
            else:
                high = middle
        return low, high


def _shown(point: Any) -> str:
    return f"{float(point.low):.15g}" if isinstance(point, Root) else str(point)
