"""Where a strictly monotone slope has a given value, looked up in a table.

Nothing but tightness depends on it: a tangent anywhere on a concave piece lies above the piece.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from boundgraph.scalar.shape import Curved

_NODES, _FARTHEST, _STEEPEST, _STEPS = 8193, 1e6, 1e12, 80


@contextmanager
def one_thread() -> Iterator[None]:
    """Tables are made of many small steps, which several threads would only wait for each other in."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class InverseSlope:
    """x with f'(x) = slope on one piece, clamped to the piece.

    The table is even in a coordinate from 0 to 1, in which x is smooth: like a square root at both ends of the slopes
    where these are finite, since that is how a slope leaves its extreme, and like a logarithm where they are not.
    """

    piece: Curved
    tables: dict[tuple[torch.dtype, torch.device], Tensor] = field(default_factory=dict, compare=False)

    def __call__(self, slope: Tensor) -> Tensor:
        place = self._coordinate(slope) * (_NODES - 1)
        # a slope that is NaN leads anywhere in the table; its line is NaN anyway
        left = place.detach().nan_to_num(0).clamp(0, _NODES - 2).floor()
        table, index = self._table(slope), left.long()
        return torch.lerp(table[index], table[index + 1], (place - left).clamp(0, 1))

    def _coordinate(self, slope: Tensor) -> Tensor:
        first, last = self.piece.first_slope, self.piece.last_slope
        if math.isfinite(first) and math.isfinite(last):
            part = ((slope - first) / (last - first)).clamp(0, 1)
            return (part.sqrt() + 1 - (1 - part).sqrt()) / 2
        if math.isfinite(first):
            return (slope - first).abs().log1p().sqrt() / self._reach(first)
        if math.isfinite(last):
            return 1 - (slope - last).abs().log1p().sqrt() / self._reach(last)
        steepest = math.log1p(_STEEPEST)
        return (math.copysign(1, last - first) * slope.sgn() * slope.abs().log1p() / steepest + 1) / 2

    def _reach(self, finite: float) -> float:
        return math.sqrt(math.log1p(abs(self._farthest_slope - finite)))

    @property
    def _farthest_slope(self) -> float:
        """The slope at the last point of the table on the side where slopes have no limit."""
        at = self._low if math.isinf(self.piece.first_slope) else self._high
        return float(self.piece.slope_at(torch.tensor(at, dtype=torch.float64)))

    @property
    def _low(self) -> float:
        start = self.piece.start
        if math.isinf(start):
            return self._far(min(self.piece.end, 0.0), -1)
        return start + 1e-9 * max(1.0, abs(start)) if math.isinf(self.piece.first_slope) else start

    @property
    def _high(self) -> float:
        end = self.piece.end
        if math.isinf(end):
            return self._far(max(self.piece.start, 0.0), 1)
        return end - 1e-9 * max(1.0, abs(end)) if math.isinf(self.piece.last_slope) else end

    def _far(self, start: float, side: int) -> float:
        """A point far off at which the slope is still a number to reckon with."""
        far = _FARTHEST
        while (
            far > 1
            and not abs(float(self.piece.slope_at(torch.tensor(start + side * far, dtype=torch.float64)))) < _STEEPEST
        ):
            far /= 2
        return start + side * far

    def _table(self, like: Tensor) -> Tensor:
        key = (like.dtype, like.device)
        if key not in self.tables:
            with one_thread():
                self.tables[key] = self._computed().to(dtype=like.dtype, device=like.device)
        return self.tables[key]

    @torch.no_grad()
    def _computed(self) -> Tensor:
        """The coordinate rises with x, so each node is found by bisection, finest near the finite end of the piece."""
        wanted = torch.linspace(0, 1, _NODES, dtype=torch.float64)
        low, high = (torch.full_like(wanted, end) for end in (self._low, self._high))
        anchor = self.piece.start if math.isfinite(self.piece.start) else self.piece.end
        for _ in range(_STEPS):
            middle = _halfway(low, high, anchor if math.isfinite(anchor) else 0.0)
            beyond = self._coordinate(self.piece.slope_at(middle)) > wanted
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        return (low + high) / 2


def _halfway(low: Tensor, high: Tensor, anchor: float) -> Tensor:
    """The middle, in the scale of asinh around the anchor: bisection from 1e6 to 1e-9 in few steps."""
    scale = 1e-9
    ends = [torch.asinh((end - anchor) / scale) for end in (low, high)]
    return anchor + scale * torch.sinh((ends[0] + ends[1]) / 2)
