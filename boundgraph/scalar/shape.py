"""The facts about a scalar function as numbers and tensor code: what its rules are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import sympy
import torch
from torch import Tensor

from boundgraph.operator import X
from boundgraph.scalar.code import Function, tensor_code
from boundgraph.scalar.enclosures import precise
from boundgraph.scalar.exp_polynomials import Root
from boundgraph.scalar.facts import Cut, Facts, Piece, Point, one_sided, own_sign


class Branch(NamedTuple):
    """The slope of the function between two cuts."""

    start: float
    end: float
    slope_at: Function


class Curved(NamedTuple):
    """A piece on which the slope is strictly monotone."""

    start: float
    end: float
    convex: bool
    slope_at: Function
    first_slope: float
    last_slope: float


class Jump(NamedTuple):
    """A point with other limits than the value there; infinite ones at poles."""

    at: float
    left: float
    right: float


class Mixed(NamedTuple):
    """Where the curvature changes: an interval is neither convex nor concave if it begins left of `start` and ends
    right of `end`. The two differ where straight pieces lie between."""

    start: float
    end: float


@dataclass(frozen=True)
class Shape:
    """A scalar function as its rules need it; constants are the floats nearest to the exact numbers."""

    function: Function
    branches: tuple[Branch, ...]
    curved: tuple[Curved, ...]
    straight: tuple[tuple[float, float], ...]
    ridges: tuple[float, ...]  # concave kinks, where a line above may touch
    valleys: tuple[float, ...]  # convex kinks
    jumps: tuple[Jump, ...]
    mixed: tuple[Mixed, ...]
    maxima: tuple[float, ...]
    minima: tuple[float, ...]
    domain: tuple[float, float]  # of a periodic function, two periods
    rising: bool | None
    """Whether the function is monotone, and in which direction; None if it is not."""
    steps: bool
    """Whether it is constant between its jumps."""

    def slope_at(self, x: Tensor) -> Tensor:
        """f'(x); at a cut that of the right; 0 where the domain ends, which may be infinitely steep."""
        start, end = self.domain
        if not math.isinf(start):
            at_end = x <= start
            return torch.where(at_end, 0.0, self._slope_inside(torch.where(at_end, start + 1.0, x)))
        if not math.isinf(end):
            at_end = x >= end
            return torch.where(at_end, 0.0, self._slope_inside(torch.where(at_end, end - 1.0, x)))
        return self._slope_inside(x)

    def _slope_inside(self, x: Tensor) -> Tensor:
        result = self.branches[0].slope_at(into(x, self.branches[0]))
        for branch in self.branches[1:]:
            result = torch.where(x < branch.start, result, branch.slope_at(into(x, branch)))
        return result


def into(x: Tensor, branch: Branch | Curved) -> Tensor:
    """x moved into the branch, so that a formula is never asked where it does not hold."""
    low, high = (None if math.isinf(end) else end for end in (branch.start, branch.end))
    return x if low is None and high is None else x.clamp(low, high)


def shape_of(facts: Facts, function: Function) -> Shape:
    """Numbers and code for the facts about `function`."""
    pieces, cuts = facts.pieces, {_float(cut.at): cut for cut in facts.cuts}
    kinks = [cut for cut in facts.cuts if cut.kink and not cut.jumps]
    jumps = tuple(_jump(cut) for cut in facts.cuts if cut.jumps)
    turns = [turn for turn in facts.turns if not any(_float(turn.at) == jump.at for jump in jumps)]
    return Shape(
        function=function,
        branches=_branches(pieces),
        curved=tuple(_curved(piece) for piece in pieces if piece.curvature),
        straight=tuple((_float(p.start), _float(p.end)) for p in pieces if not p.curvature),
        ridges=tuple(_float(cut.at) for cut in kinks if cut.kink < 0),
        valleys=tuple(_float(cut.at) for cut in kinks if cut.kink > 0),
        jumps=jumps,
        mixed=_mixed(pieces, cuts),
        maxima=tuple(_float(turn.at) for turn in turns if turn.kind > 0),
        minima=tuple(_float(turn.at) for turn in turns if turn.kind < 0),
        domain=(_float(pieces[0].start), _float(pieces[-1].end)),
        rising=None if turns or jumps else _rising(pieces),
        steps=bool(jumps) and all(sympy.diff(piece.formula, X) == 0 for piece in pieces),
    )


def _float(point: Point) -> float:
    return float((point.low + point.high) / 2) if isinstance(point, Root) else float(point)


def _branches(pieces: tuple[Piece, ...]) -> tuple[Branch, ...]:
    """Neighbouring pieces of one formula share the code of its slope."""
    found: list[tuple[Any, Point, Point]] = []
    for piece in pieces:
        if found and found[-1][0] == piece.formula:
            found[-1] = (piece.formula, found[-1][1], piece.end)
        else:
            found.append((piece.formula, piece.start, piece.end))
    return tuple(Branch(_float(a), _float(b), tensor_code(sympy.diff(f, X))) for f, a, b in found)


def _curved(piece: Piece) -> Curved:
    slope = sympy.diff(piece.formula, X)
    first, last = (_limit(slope, point, side) for point, side in ((piece.start, 1), (piece.end, -1)))
    return Curved(_float(piece.start), _float(piece.end), piece.curvature > 0, tensor_code(slope), first, last)


def _limit(formula: sympy.Expr, point: Point, side: int) -> float:
    if isinstance(point, Root):
        return float(sympy.N(formula.subs(X, sympy.Float(str(point.low), 40)), 30))
    return float(one_sided(formula, point, side))


def _jump(cut: Cut) -> Jump:
    assert cut.left is not None
    assert cut.right is not None
    return Jump(_float(cut.at), float(cut.left), float(cut.right))


def _mixed(pieces: tuple[Piece, ...], cuts: dict[float, Cut]) -> tuple[Mixed, ...]:
    """Between each convex part, piece or kink, and the next concave one, and the other way round."""
    signed: list[tuple[int, float, float]] = []  # sign, start, end
    for piece in pieces:
        cut = cuts.get(_float(piece.start))
        if cut is not None and cut.jumps and math.inf in (abs(_jump(cut).left), abs(_jump(cut).right)):
            signed.append((0, 0.0, 0.0))  # an interval across a pole has no lines
        elif cut is not None and cut.jumps:  # both signs at once, at the point itself
            before, after = (math.nextafter(float(cut.at), way) for way in (-math.inf, math.inf))
            signed += [(1, before, after), (-1, before, after)]
        elif cut is not None and cut.kink:
            signed.append((cut.kink, float(cut.at), float(cut.at)))
        if piece.curvature:
            signed.append((piece.curvature, _float(piece.start), _float(piece.end)))
    found = []
    for (first, start, end), (second, next_start, _) in pairwise(signed):
        if first * second < 0:
            # a jump is met by intervals that only touch it
            found.append(Mixed(end, next_start) if start != next_start else Mixed(end, start))
    return tuple(dict.fromkeys(found))


def _rising(pieces: tuple[Piece, ...]) -> bool | None:
    """The direction of a continuous function that turns nowhere: the slope has one sign on each piece."""
    with precise():
        signs = {own_sign(piece, piece.start, 1) for piece in pieces} - {0}
    return None if len(signs) == 2 else -1 not in signs
