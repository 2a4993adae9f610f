"""Slopes of the lines with the least area, for intervals on which a function is neither convex nor concave.

The upper line with the least area minimises max_x (f(x) - k x) + k m over its slope k, m the middle of the interval: a
convex function of k, whose derivative is m minus the place of the maximum. It is minimised by bisection once, on a grid
of intervals, and interpolated between.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from boundgraph.relaxations import positive
from boundgraph.scalar.inverse import one_thread

if TYPE_CHECKING:
    from boundgraph.scalar.lines import Rules

_GRID, _NEAREST, _FARTHEST, _STEPS = 192, 1e-3, 1e5, 36


class SlopeTable:
    """(interval) -> how mixed it is, from 0 to 1, and the slopes below and above.

    An interval is mixed from the first change of curvature right of its lower end to the last one left of its upper
    end. For each such pair there is a grid over the logarithms of the distances of the ends from the two. An end nearer
    than the grid begins makes the interval mixed in part, in proportion to its distance.
    """

    def __init__(self, rules: Rules) -> None:
        self.changes = rules.shape.mixed
        starts, ends = [c.start for c in self.changes], [c.end for c in self.changes]
        first, last = rules.shape.domain
        self.reach_left = [min(_FARTHEST, s - e) for s, e in zip(starts, [first, *starts], strict=False)]
        self.reach_right = [min(_FARTHEST, e - s) for s, e in zip(ends, [*ends[1:], last], strict=True)]
        self.count = len(self.changes)
        self._tables: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._rules = rules

    def __call__(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            number, row, column, mixed = self._place(low, high)
        left, right = self._distances(number, low, high)
        across = (left - row).clamp(0, 1)
        down = (right - column).clamp(0, 1)
        index = (number[0] * self.count + number[1]) * _GRID**2 + row * _GRID + column
        index = index.long()
        table = self._table(low)
        slopes = []
        for values in table:
            upper = torch.lerp(values[index], values[index + 1], down)
            lower = torch.lerp(values[index + _GRID], values[index + _GRID + 1], down)
            slopes.append(torch.lerp(upper, lower, across))
        return mixed * self._share(number, low, high), slopes[0], slopes[1]

    def _share(self, number: tuple[Tensor, Tensor], low: Tensor, high: Tensor) -> Tensor:
        if self._rules.shape.jumps:  # the nearer to a jump, the more there is of it
            return torch.ones_like(low)
        left, right = self._ends(number)
        return ((left - low) / _NEAREST).clamp(0, 1) * ((high - right) / _NEAREST).clamp(0, 1)

    def _ends(self, number: tuple[Tensor, Tensor]) -> tuple[Tensor | float, Tensor | float]:
        starts, ends = [c.start for c in self.changes], [c.end for c in self.changes]
        return self._choice(starts, number[0]), self._choice(ends, number[1])

    def _place(self, low: Tensor, high: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]:
        """Numbers of the first and the last change inside, the cell of the grid, and whether there is any inside."""
        first = sum((positive(low - change.start).clone() for change in self.changes), torch.zeros_like(low))
        first = first + sum((low == change.start).to(low.dtype) for change in self.changes)
        last = sum((positive(high - change.end).clone() for change in self.changes), torch.zeros_like(low)) - 1
        mixed = 1 - positive(first - last)
        number = (first.clamp(max=self.count - 1), torch.maximum(last, first).clamp(0, self.count - 1))
        left, right = self._distances(number, low, high)
        row, column = (part.nan_to_num(0).clamp(0, _GRID - 2).floor() for part in (left, right))
        return number, row, column, mixed

    def _distances(self, number: tuple[Tensor, Tensor], low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The distances of the ends from the changes in units of the grid."""
        start, end = self._ends(number)
        scale = [(_GRID - 1) / math.log(reach / _NEAREST) if reach > _NEAREST else 0.0 for reach in self.reach_left]
        other = [(_GRID - 1) / math.log(reach / _NEAREST) if reach > _NEAREST else 0.0 for reach in self.reach_right]
        left = ((start - low).clamp(min=_NEAREST) / _NEAREST).log() * self._choice(scale, number[0])
        right = ((high - end).clamp(min=_NEAREST) / _NEAREST).log() * self._choice(other, number[1])
        return left, right

    @staticmethod
    def _choice(values: list[float], number: Tensor) -> Tensor | float:
        if len(values) == 1:
            return values[0]
        result = torch.full_like(number, values[0])
        for i, value in enumerate(values[1:], 1):
            result = torch.lerp(result, torch.full_like(number, value), positive(number - (i - 0.5)))
        return result

    def _table(self, like: Tensor) -> tuple[Tensor, Tensor]:
        key = (like.dtype, like.device)
        if key not in self._tables:
            with one_thread():
                self._tables[key] = self._computed().to(dtype=like.dtype, device=like.device)
        below, above = self._tables[key]
        return below, above

    @torch.no_grad()
    def _computed(self) -> Tensor:
        """(2, pairs * grid * grid): slopes below and above."""
        steps = torch.linspace(0, 1, _GRID, dtype=torch.float64)
        tables = torch.zeros(2, self.count, self.count, _GRID, _GRID, dtype=torch.float64)
        for i in range(self.count):
            for j in range(i, self.count):
                away, beyond = (
                    _NEAREST * (max(reach, 2 * _NEAREST) / _NEAREST) ** steps
                    for reach in (self.reach_left[i], self.reach_right[j])
                )
                low = (self.changes[i].start - away)[:, None].expand(-1, _GRID)
                high = (self.changes[j].end + beyond)[None, :].expand(_GRID, -1)
                for side, sign in enumerate((1, -1)):
                    tables[side, i, j] = self._least_area(low, high, sign)
        return tables.nan_to_num(0.0).flatten(1)  # across poles; there the intercepts are infinite

    def _least_area(self, low: Tensor, high: Tensor, sign: int) -> Tensor:
        """Below for sign 1, above for -1."""
        from boundgraph.values import Interval

        function, middle = self._rules.shape.function, (low + high) / 2
        bounds = self._rules.interval(Interval(low, high))
        farthest = bounds.lower if sign > 0 else bounds.upper
        ends = [(farthest - function(low)) / (middle - low), (function(high) - farthest) / (high - middle)]
        least, most = torch.minimum(*ends), torch.maximum(*ends)
        for _ in range(_STEPS):
            slope = (least + most) / 2
            place = self._rules.place(slope, low, high, sign)
            # above, a slope is too small as long as the line touches right of the middle
            more = (place > middle) == (sign < 0)
            least, most = torch.where(more, slope, least), torch.where(more, most, slope)
        return (least + most) / 2
