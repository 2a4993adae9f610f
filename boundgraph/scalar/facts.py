"""What there is to know about a scalar function, derived from its formula: pieces, turning points, kinks, jumps.

The line is cut where the formula changes its branch or leaves its domain, and where the second derivative changes its
sign; all of that is found with certainty or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import sympy

from boundgraph.errors import BoundgraphError
from boundgraph.operator import X
from boundgraph.scalar.branches import Point, branches, parts_with_values
from boundgraph.scalar.enclosures import Ball, ball, enclose, precise, sign_of
from boundgraph.scalar.exp_polynomials import Root, UndecidedError, limit_of_quotient, roots_of_monotone
from boundgraph.scalar.signs import algebraic, as_exp_polynomial, exact, signs


class ActivationError(BoundgraphError, ValueError):
    """A formula from which bounds cannot be derived with certainty; says which part is in the way."""


class Piece(NamedTuple):
    """A part of the line on which the function is smooth and its slope monotone."""

    start: Point
    end: Point
    formula: sympy.Expr
    curvature: int
    """The sign of the second derivative: 1 convex, -1 concave, 0 straight."""


class Cut(NamedTuple):
    """Where two pieces meet. Left or right of it there may be none; the value there is then None."""

    at: Point
    left: sympy.Expr | None  # the limit of the function from the left
    right: sympy.Expr | None
    kink: int
    """The sign of the change of the slope, 0 where the function is smooth."""

    @property
    def jumps(self) -> bool:
        if self.left is None or self.right is None:
            return False
        return self.left != self.right or not self.left.is_finite


class Turn(NamedTuple):
    """Where the slope changes its sign."""

    at: Point
    kind: int
    """1 for a maximum, -1 for a minimum."""


class Facts(NamedTuple):
    """A scalar function: its pieces from left to right, the cuts between them, and where it turns."""

    formula: sympy.Expr
    pieces: tuple[Piece, ...]
    cuts: tuple[Cut, ...]
    turns: tuple[Turn, ...]


def derive(formula: sympy.Expr) -> Facts:
    """The facts about a formula in `X`.

    Raises:
        ActivationError: a root cannot be isolated, or a function in the formula is not known.
    """
    formula = exact(sympy.sympify(formula))
    others = formula.free_symbols - {X}
    if others:
        raise ActivationError(f"the formula {formula} has other variables than x: {', '.join(map(str, others))}")
    try:
        with precise():
            pieces = [
                piece
                for branch, *around in branches(formula)
                for left, right in parts_with_values(branch, *around)
                for piece in _pieces(branch, left, right)
            ]
            if not pieces:
                raise UndecidedError("nowhere is it known to be real")
            cuts = [_cut(left, right) for left, right in pairwise([None, *pieces, None])]
            for cut in cuts:
                _require_value_between_limits(formula, cut)
            turns = [turn for piece in pieces for turn in _turns_inside(piece)]
            turns += [turn for cut, pair in zip(cuts, pairwise([None, *pieces, None]), strict=True)
                      if (turn := _turn_at(cut, *pair)) is not None]  # fmt: skip
    except (UndecidedError, NotImplementedError, sympy.PolynomialError) as reason:
        raise ActivationError(f"no bounds can be derived from {formula}: {reason}") from reason
    return Facts(formula, tuple(pieces), tuple(c for c in cuts if c.at not in (sympy.oo, -sympy.oo)), tuple(turns))


# ---------------------------------------------------------------------- pieces


def _pieces(formula: sympy.Expr, start: Point, end: Point) -> Iterator[Piece]:
    found = signs(sympy.diff(formula, X, 2), start, end)
    for (left, right), sign in zip(pairwise([start, *found.changes, end]), found.signs, strict=True):
        yield Piece(left, right, formula, sign)


def _turns_inside(piece: Piece) -> list[Turn]:
    """Inside a piece the slope is monotone, so it changes its sign once at most."""
    if piece.curvature == 0:
        return []
    first, last = slope_sign(piece, piece.start, 1), slope_sign(piece, piece.end, -1)
    if first * last >= 0:
        return []
    slope = Enclosed(sympy.diff(piece.formula, X))
    return [Turn(roots_of_monotone(slope, piece.start, piece.end, first), first)]


def slope_sign(piece: Piece, point: Point, side: int) -> int:
    """The sign of the slope just inside an end of a piece."""
    slope = sympy.diff(piece.formula, X)
    if isinstance(point, Root) and point.exact is None:
        for bits in (64, 128, 180):
            point.narrow(bits)
            sign = sign_of(enclose(slope, point.enclosure))
            if sign is not None:
                return sign
        raise UndecidedError(f"the sign of the slope at {float(point.low)}")
    value = one_sided(slope, point.exact if isinstance(point, Root) else point, side)
    if value in (sympy.oo, -sympy.oo):
        return 1 if value == sympy.oo else -1
    if value == 0 or value.equals(0):
        # sound: the slope moves away from 0 as the curvature says, and it left 0 at this end
        return piece.curvature * side
    sign = sign_of(ball(value))
    if sign is None:
        raise UndecidedError(f"the sign of the slope at {point}")
    return sign


def one_sided(formula: sympy.Expr, point: Point, side: int) -> sympy.Expr:
    """The limit at an exact point or at infinity, from the right (side 1) or from the left."""
    if point not in (sympy.oo, -sympy.oo):
        value = formula.subs(X, point)
        if value.is_finite and value.is_real and not value.has(sympy.nan, sympy.zoo):
            return value
    else:
        known = _limit_at_infinity(formula, 1 if point == sympy.oo else -1)
        if known is not None:
            return known
    return sympy.limit(formula, X, point, "+" if side > 0 else "-")


def _limit_at_infinity(formula: sympy.Expr, side: int) -> sympy.Expr | None:
    """The limit of a quotient of sums of polynomials times exponentials, None for anything else."""
    form = algebraic(formula)
    above, below = sympy.fraction(sympy.together(form.expression))
    numerator, denominator = (as_exp_polynomial(form.restored(part)) for part in (above, below))
    if numerator is None or denominator is None:
        return None
    return limit_of_quotient(numerator, denominator, side)


class Enclosed:
    """A function known by enclosures of its values."""

    def __init__(self, formula: sympy.Expr) -> None:
        self.formula = formula

    def expression(self) -> sympy.Expr:
        return self.formula

    def at(self, x: Ball) -> Ball:
        return enclose(self.formula, x)


# ---------------------------------------------------------------------- cuts


def _cut(left: Piece | None, right: Piece | None) -> Cut:
    if left is not None and right is not None and _same(left.end, right.start):
        if isinstance(left.end, Root):  # an inflection
            return Cut(left.end, None, None, 0)
        before, after = one_sided(left.formula, left.end, -1), one_sided(right.formula, right.start, 1)
        if before != after and sympy.simplify(before - after) == 0:
            after = before
        slopes = [one_sided(sympy.diff(p.formula, X), left.end, side) for p, side in ((left, -1), (right, 1))]
        return Cut(left.end, before, after, _order(*slopes))
    if left is None:
        assert right is not None
        at = right.start
        value = None if at == -sympy.oo else one_sided(right.formula, at, 1)
        return Cut(at, None, value, 0)
    value = None if left.end == sympy.oo else one_sided(left.formula, left.end, -1)
    if right is not None:
        raise UndecidedError("a domain of several parts that do not touch")
    return Cut(left.end, value, None, 0)


def _require_value_between_limits(formula: sympy.Expr, cut: Cut) -> None:
    """Intervals and lines heed the limits at a cut; they hold for the value there if it lies between."""
    limits = [limit for limit in (cut.left, cut.right) if limit is not None]
    if isinstance(cut.at, Root) or not limits or not all(limit.is_finite for limit in limits):
        return
    value = formula.subs(X, cut.at)
    if not (value.is_number and value.is_finite and value.is_real):
        return
    beyond = [sign_of(ball(value - limit)) for limit in limits if value != limit and not (value - limit).equals(0)]
    if len(beyond) == len(limits) and len(set(beyond)) == 1:
        raise UndecidedError(f"at {cut.at} it has the value {value}, which is not between its limits there")


def _same(first: Point, second: Point) -> bool:
    return first is second or (not isinstance(first, Root) and not isinstance(second, Root) and first == second)


def _order(before: sympy.Expr, after: sympy.Expr) -> int:
    if before == after or (before in (sympy.oo, -sympy.oo) and after in (sympy.oo, -sympy.oo)):
        return 0
    if sympy.oo in (after, -before):
        return 1
    if -sympy.oo in (after, -before):
        return -1
    change = sympy.simplify(after - before)
    if change == 0:
        return 0
    sign = sign_of(ball(change))
    if sign is None:
        raise UndecidedError(f"whether the slope changes by {change}")
    return sign


def _turn_at(cut: Cut, left: Piece | None, right: Piece | None) -> Turn | None:
    """Whether the function turns where two pieces meet."""
    if left is None or right is None or cut.jumps:
        return None
    first, last = own_sign(left, left.end, -1), own_sign(right, right.start, 1)
    return Turn(cut.at, first) if first * last < 0 else None


def own_sign(piece: Piece, point: Point, side: int) -> int:
    """The sign of the slope just inside an end of a piece, 0 where the function is constant."""
    if piece.curvature == 0:
        slope = sympy.diff(piece.formula, X)
        if slope == 0:
            return 0
        sign = sign_of(ball(sympy.simplify(slope)))
        if sign is None:
            raise UndecidedError(f"the sign of {slope}")
        return sign
    return slope_sign(piece, point, side)
