"""Input regions: the sets a perturbed input may range over, and the exact minimum of a linear function on them.

Radii are in the units of the model's input: a model that normalises inside takes eps in pixels, one that is fed
normalised data takes eps in normalised units.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from numbers import Real
from typing import Self

import torch
from torch import Tensor

from boundgraph.errors import RegionError
from boundgraph.linear_forms import inner, per_example, per_row, summed_to
from boundgraph.values import Interval
from boundgraph.windows import Windows

Limit = float | Tensor


class Region:
    """A set of inputs per example. Subclasses have a `center` and a `_box`, and answer `minimum`."""

    center: Tensor  # (batch, *shape), the clean input
    _box: Interval  # the smallest box that contains the region
    is_box = False  # whether `interval` is the region itself, and `minimum` need not be asked

    def interval(self) -> Interval:
        """The smallest box that contains the region."""
        return self._box

    @property
    def lower(self) -> Tensor:
        """The lower ends of that box."""
        return self.interval().lower

    @property
    def upper(self) -> Tensor:
        return self.interval().upper

    def minimum(self, coefficients: Tensor) -> Tensor:
        """min over the region of <coefficients, x - center of the interval>, per row: (batch, rows)."""
        raise NotImplementedError

    def examples(self, chosen: Tensor) -> Self:
        """The regions of some examples, by their numbers."""
        made = copy.copy(self)
        made.center, made._box = self.center[chosen], self._box.examples(chosen)
        return made


class Box(Region):
    """All x with lower <= x <= upper, element-wise.

    lower, upper: (batch, *shape), in the model's input units.

    Raises:
        RegionError: shapes or dtypes differ, the dtype is not floating, or lower > upper somewhere.
    """

    is_box = True

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        for end in (lower, upper):
            _require_floating(end, "Box(lower, upper)")
        if lower.shape != upper.shape or lower.dtype != upper.dtype:
            one, other = (f"shape {tuple(end.shape)} and {end.dtype}" for end in (lower, upper))
            raise RegionError(f"Box: lower has {one}, but upper has {other}; give both one shape and dtype")
        if readable(lower) and bool((lower > upper).any()):
            worst = (lower - upper).max().item()
            raise RegionError(f"Box: lower exceeds upper by up to {worst:.3g}; the region is empty")
        self._box = Interval(*_poison(lower, upper, lower > upper))
        self.center = self._box.center

    def minimum(self, coefficients: Tensor) -> Tensor:
        return minimum_on_box(coefficients, self._box.radius)


class LpBall(Region):
    """All x' with ||x' - x||_norm <= eps and, if given, clip[0] <= x' <= clip[1].

    x: (batch, *shape). eps: a number, a tensor (batch,), or, for norm=inf, a tensor of as many dimensions as x that
    broadcasts against it; in the model's input units. norm: in [1, inf]. clip: the valid range of the data, two numbers
    or tensors.

    Raises:
        RegionError: eps is negative or has a wrong shape, norm < 1, or the clipped ball is empty.
    """

    def __init__(
        self, x: Tensor, eps: float | Tensor, norm: float = math.inf, clip: Sequence[Limit] | None = None
    ) -> None:
        _require_floating(x, "LpBall(x, eps)")
        self.norm, self.eps = _valid_norm(norm), _radius_like(eps, x, norm)
        self.is_box, self.clipped = self.norm == math.inf, clip is not None
        self.center = x + (x - x)  # infinity becomes NaN
        self._box = self._clipped_box(x, clip) if clip is not None else Interval.around(self.center, self._radius(x))

    def examples(self, chosen: Tensor) -> Self:
        made = super().examples(chosen)
        if isinstance(self.eps, Tensor) and len(self.eps) > 1:
            made.eps = self.eps[chosen]
        return made

    def _radius(self, x: Tensor) -> Tensor:
        """eps per element: (batch | 1, *shape)."""
        if isinstance(self.eps, Tensor):
            return self.eps.expand(self.eps.shape[0], *x.shape[1:])
        return x.new_full((1, *x.shape[1:]), self.eps)

    def _clipped_box(self, x: Tensor, clip: Sequence[Limit]) -> Interval:
        low, high = _valid_clip(clip, x)
        lower, upper = torch.clamp(x - self.eps, min=low), torch.clamp(x + self.eps, max=high)
        empty = lower > upper
        if self.norm < math.inf:
            way = per_example(torch.clamp(torch.clamp(x, min=low), max=high) - x)  # to the valid range
            distance = torch.linalg.vector_norm(way, ord=self.norm, dim=1).reshape(-1, *[1] * (x.dim() - 1))
            empty = empty | (distance > self.eps)
        if readable(lower) and bool(empty.any()):
            raise RegionError(
                "LpBall: some x lies further than eps outside `clip`, so nothing is left of the ball; "
                "are x and clip in the same units?"
            )
        return Interval(*_poison(lower, upper, empty))

    def minimum(self, coefficients: Tensor) -> Tensor:
        box = self._box
        if self.is_box:
            return minimum_on_box(coefficients, box.radius)
        # sound: by Hoelder |<A, d>| <= ||A||_q ||d||_p with 1/p + 1/q = 1, and some d in the ball attains it.
        dual = self.norm / (self.norm - 1) if self.norm > 1 else math.inf
        size = torch.linalg.vector_norm(per_row(coefficients), ord=dual, dim=2)
        eps = self.eps.reshape(-1, 1) if isinstance(self.eps, Tensor) else self.eps
        if not self.clipped:
            return -eps * size
        # sound: the region lies in the ball and in the box, so each of the three is a lower bound on it.
        away = inner(coefficients, self.center - box.center)
        bound = torch.maximum(away - eps * size, minimum_on_box(coefficients, box.radius))
        both = self._minimum_on_clipped_ball(coefficients, eps, size) + away
        return torch.where(both.isfinite(), torch.maximum(bound, both), bound)

    def _minimum_on_clipped_ball(self, coefficients: Tensor, eps: float | Tensor, size: Tensor) -> Tensor:
        """Lagrangian dual of min <A, d> over the ball cut with the box, d = x' - x.

        # sound: by weak duality every multiplier m >= 0 gives the lower bound
        #   sum_i min_{d_i in box} (A_i d_i + m |d_i|^p / p) - m eps^p / p;
        the best m, where the ball constraint is just met, is found by bisection and makes the bound tight.
        """
        p, a = self.norm, per_row(coefficients)
        low, high = (per_example(end - self.center).unsqueeze(1) for end in self._box)

        def free(multiplier: Tensor) -> Tensor:
            m = multiplier.unsqueeze(-1)
            step = torch.where(a.abs() > m, math.inf, 0.0) if p == 1 else (a.abs() / m) ** (1 / (p - 1))
            return -a.sign() * step.nan_to_num(posinf=torch.finfo(a.dtype).max)

        with torch.no_grad():
            smallest, largest = torch.zeros_like(size), (size / eps ** (p - 1)).clamp(max=torch.finfo(a.dtype).max)
            for _ in range(_BISECTIONS):
                middle = (smallest + largest) / 2
                inside = _within(free(middle), low, high).abs().pow(p).sum(2) <= eps**p
                smallest, largest = torch.where(inside, smallest, middle), torch.where(inside, middle, largest)
        # for p = 1 the dual is piecewise linear in m, and its best m is one of the |A_i|
        best = a.abs().masked_fill(a.abs() > largest.unsqueeze(2), 0).amax(2) if p == 1 else largest
        # where the free minimum lies inside, its derivative drops out; at an end of the box it is that of the end
        move = _within(free(best).detach(), low, high)
        return (a * move).sum(2) + best / p * (move.abs().pow(p).sum(2) - eps**p)


_BISECTIONS = 24


def _within(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(value, low), high)


def minimum_on_box(coefficients: Tensor | Windows, radius: Tensor) -> Tensor:
    """min <A, x - center> = -<|A|, radius>: each coordinate moves to the end that hurts most."""
    if isinstance(coefficients, Windows):
        return -inner(coefficients.of(coefficients.values.abs()), radius)
    return -inner(coefficients.abs(), radius)


def minimum_on_box_gradient(upstream: Tensor, coefficients: Tensor, radius: Tensor) -> tuple[Tensor, Tensor | None]:
    """With g upstream: -g sign(A) radius for A, and minus the sum over the rows of g |A| for the radius."""
    per_row = -upstream.reshape(*upstream.shape, *[1] * (coefficients.dim() - 2))
    gradient = coefficients.sign() * per_row  # not in place: one set of coefficients may serve all examples
    of_radius = None
    if radius.requires_grad:
        of_radius = summed_to((coefficients.abs() * per_row).sum(1), radius)
    return summed_to(gradient * radius.unsqueeze(1), coefficients), of_radius


def readable(tensor: Tensor) -> bool:
    """Whether its numbers may be looked at for free: eager mode on the CPU. Elsewhere a look would stall an
    accelerator or break a traced graph, and bad numbers are turned into NaN bounds instead of errors."""
    return type(tensor) is Tensor and tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _poison(lower: Tensor, upper: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    """An empty or unbounded set has no bounds: NaN, which is no certificate. (Comparisons with NaN are false.)"""
    bad = empty | lower.isinf() | upper.isinf()
    return lower.masked_fill(bad, math.nan), upper.masked_fill(bad, math.nan)


def _require_floating(tensor: Tensor, what: str) -> None:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise RegionError(f"{what} needs floating-point tensors, not {kind}")


def _valid_norm(norm: float) -> float:
    if not isinstance(norm, Real) or not norm >= 1:
        raise RegionError(f"LpBall: norm must lie in [1, inf], not {norm!r}")
    return float(norm)


def _radius_like(eps: float | Tensor, x: Tensor, norm: float) -> float | Tensor:
    """eps as a number, or as a tensor that broadcasts against x."""
    if not isinstance(eps, Tensor):
        if not isinstance(eps, Real) or not 0 <= eps < math.inf:
            raise RegionError(f"eps must be a finite number >= 0, not {eps!r}")
        return float(eps)
    eps = eps.to(x)
    if readable(eps) and not bool(((eps >= 0) & eps.isfinite()).all()):
        raise RegionError("eps must be finite and >= 0 for every example")
    per_example = (eps.dim() == 1 and eps.shape[0] == x.shape[0]) or eps.numel() == 1
    if per_example:
        eps = eps.reshape(-1, *[1] * (x.dim() - 1))
    elif norm != math.inf or eps.dim() != x.dim() or not _stretches_to(eps.shape, x.shape):
        wanted = f"a number or a tensor of shape ({x.shape[0]},)"
        raise RegionError(f"eps has shape {tuple(eps.shape)}; for x of shape {tuple(x.shape)} give {wanted}")
    # NaN instead of a negative radius where numbers may not be looked at
    return torch.where(eps >= 0, eps, math.nan)


def _stretches_to(shape: Sequence[int], target: Sequence[int]) -> bool:
    return all(size in (1, wanted) for size, wanted in zip(shape, target, strict=True))


def _valid_clip(clip: Sequence[Limit], x: Tensor) -> tuple[Limit, Limit]:
    if not isinstance(clip, tuple | list) or len(clip) != 2:
        what = f"{len(clip)} values" if isinstance(clip, tuple | list) else repr(clip)
        raise RegionError(f"clip must be a pair (low, high), not {what}")
    low, high = (_valid_limit(limit, x) for limit in clip)
    return low, high


def _valid_limit(limit: Limit, x: Tensor) -> Limit:
    if isinstance(limit, Real):
        return float(limit)
    if not isinstance(limit, Tensor):
        raise RegionError(f"clip must hold two numbers or tensors, not {limit!r}; use math.inf for an open end")
    padded = (1,) * (x.dim() - limit.dim()) + tuple(limit.shape)
    if limit.dim() > x.dim() or not _stretches_to(padded, x.shape):
        raise RegionError(f"clip has a tensor of shape {tuple(limit.shape)}, which does not fit x of {tuple(x.shape)}")
    return limit.to(x)


# What emitted graphs call. Plain functions, because a graph names its targets.


def center(region: Region | Tensor) -> Tensor:
    """The clean input, about which the region lies. A point is its own centre: so the primal graph takes tensors."""
    return region.center if isinstance(region, Region) else region


def interval(region: Region) -> Interval:
    return region.interval()


def minimum(coefficients: Tensor, region: Region) -> Tensor:
    return region.minimum(coefficients)
