"""The clipped ReLU, min(max(x, 0), ceiling), whose ceiling may be trained (ParamRamp, Lyu et al. 2021).

Convex left of the ceiling, concave right of 0. Two of its lines are free where the interval contains a kink: the lower
one at 0, as that of ReLU, and the upper one at the ceiling, which mirrors it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundgraph.declared import differentiated_by
from boundgraph.linear_forms import adjacent, summed_to
from boundgraph.operator import Operator, Refused, register
from boundgraph.relaxations import LOWER_SLOPES, or_one, positive
from boundgraph.values import Interval, Line, Relaxation

threshold_backward = torch.ops.aten.threshold_backward

_NO_TENSOR = "the ceiling of a ramp is a tensor; with a number write torch.clamp(x, 0, ceiling)"


def ramp(x: Tensor, ceiling: Tensor) -> Tensor:
    """min(max(x, 0), ceiling), element by element; the ceiling broadcasts against x and may be a parameter.

    A ceiling below 0 leaves the constant function.

    Raises:
        TypeError: the ceiling is no tensor.

    Lyu et al. 2021 (ParamRamp with slope 0).
    """
    if not isinstance(ceiling, Tensor):
        raise TypeError(_NO_TENSOR)
    return forward(x, ceiling)


def forward(x: Tensor, ceiling: Tensor) -> Tensor:
    return _clamped(x, _in_the_order_of(x, ceiling))[0]


def interval(x: Interval, ceiling: Tensor) -> Interval:
    # rising, so ends go to ends
    if x.made_of_ends:
        return Interval(forward(x.lower, ceiling), forward(x.upper, ceiling))
    return Interval.around(*_clipped(x.center, x.radius, _in_the_order_of(x.center, ceiling)))


def _in_the_order_of(x: Tensor, ceiling: Tensor) -> Tensor:
    """One ceiling per element of an image in the memory format of x: mixed formats take twice as long."""
    if ceiling.dim() == 3 and x.dim() == 4 and adjacent(x, 1):
        return ceiling.unsqueeze(0).contiguous(memory_format=torch.channels_last)
    return ceiling


def _split(upstream: Tensor, x: Tensor, ceiling: Tensor) -> tuple[Tensor, Tensor]:
    """What arrives at clipped values, for x, where they lie between 0 and the ceiling, and for the ceiling."""
    of_ceiling = threshold_backward(upstream, x.relu().sub_(ceiling), 0)
    return threshold_backward(upstream - of_ceiling, x, 0), of_ceiling


def _clamped_gradient(upstream: list[Tensor], _: Any, x: Tensor, ceiling: Tensor) -> tuple[Tensor, Tensor]:
    passed, of_ceiling = _split(upstream[0], x, ceiling)
    return passed, _summed_over(of_ceiling, ceiling)


@differentiated_by(_clamped_gradient)
def _clamped(x: Tensor, ceiling: Tensor) -> tuple[Tensor]:
    return (torch.clamp(x, ceiling.new_zeros(()), ceiling),)  # to the upper limit where that is the smaller one


def _clipped_gradient(
    upstream: list[Tensor], _: Any, center: Tensor, radius: Tensor, ceiling: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """An end passes on what arrives at it: to the ceiling where it is above that, else to x where it is positive."""
    of_center, of_radius = upstream
    of_lower, lower_to_ceiling = _split(of_center - of_radius, center - radius, ceiling)
    of_upper, upper_to_ceiling = _split(of_center + of_radius, center + radius, ceiling)
    of_ceiling = torch.lerp(lower_to_ceiling, upper_to_ceiling, 0.5)
    middle = torch.lerp(of_lower, of_upper, 0.5)
    return middle, summed_to(of_upper.sub_(middle), radius), _summed_over(of_ceiling, ceiling)


@differentiated_by(_clipped_gradient)
def _clipped(center: Tensor, radius: Tensor, ceiling: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and radius of the clipped values."""
    zero = ceiling.new_zeros(())
    lower, upper = torch.clamp(center - radius, zero, ceiling), torch.clamp(center + radius, zero, ceiling)
    middle = torch.lerp(lower, upper, 0.5)
    return middle, upper - middle


def _summed_over(gradient: Tensor, ceiling: Tensor) -> Tensor:
    """The gradient of a ceiling that was broadcast, summed in the order of memory."""
    if ceiling.dim() == gradient.dim() == 4 and adjacent(gradient, 1):
        return gradient.movedim(1, -1).sum_to_size(ceiling.movedim(1, -1).shape).movedim(-1, 1)
    return gradient.sum_to_size(ceiling.shape)


def relax(x: Interval, ceiling: Tensor, slope: str = "adaptive") -> Relaxation:
    """Per side the steep line, a chord beyond the kink, or the flat one, 0 or the ceiling.

    "adaptive" takes the flat one where the flat side of the kink is the longer one, as that of ReLU; "zero" wherever
    there is one, which is never worse than the interval; "one" never; "same" gives both lines the slope of the chord.
    """
    low, high = x.lower, x.upper
    at_low, at_high = forward(low, ceiling), forward(high, ceiling)
    # sound: right of 0 the function is concave, so a chord is below it, and left of 0 it falls below 0
    start = torch.minimum(low.relu(), high)
    # sound: left of the ceiling it is convex, so a chord is above it, and right of it rises above the ceiling
    end = torch.maximum(torch.minimum(high, ceiling), low)
    at_start, at_end = forward(start, ceiling), forward(end, ceiling)
    if slope == "same":
        # sound: of f(x) - s x, s the chord's slope, the ends are equal, 0 is a minimum and the ceiling a maximum
        chord = _slope(at_high - at_low, high - low)
        return Relaxation(Line(chord, at_start - chord * start), Line(chord, at_end - chord * end))
    steep_below, steep_above = _steep(slope, x, ceiling)
    below = steep_below * _slope(at_high - at_start, high - start)
    above = steep_above * _slope(at_end - at_low, end - low)
    return Relaxation(Line(below, at_start - below * start), Line(above, at_end - above * end))


def centred(y: Interval, x: Interval, ceiling: Tensor, slope: str = "adaptive") -> Relaxation:
    """Of the interval's length `under` lies below 0 and `over` above the ceiling; on the rest the function rises.

    The steep line below has the slope rise / (rise + over) and passes by half of slope * under beneath the centres, the
    flat one by rise / 2; those above mirror them. With the chord's slope it is by slope * under, and slope * over.
    """
    ceiling = _in_the_order_of(x.center, ceiling)
    if slope == "same":
        under, rise, over = _parts(x.lower, x.upper, ceiling)
        chord = _slope(rise, under + rise + over)
        return Relaxation(Line(chord, -chord * under), Line(chord, chord * over))
    steep = _steep(slope, x, ceiling)
    if x.made_of_ends:
        below, under, above, over = _lines_between(x.lower, x.upper, ceiling, *steep)
    else:
        below, under, above, over = _lines_around(x.center, x.radius, ceiling, *steep)
    return Relaxation(Line(below, under), Line(above, over))


def _lines_gradient(
    upstream: list[Tensor],
    results: tuple[Tensor, ...],
    center: Tensor,
    radius: Tensor,
    ceiling: Tensor,
    steep_below: Tensor,
    steep_above: Tensor,
) -> tuple[Tensor, Tensor, Tensor, None, None]:
    """Of rise / (rise + rest): (1 - slope) / (rise + rest) for the rise and -slope / (rise + rest) for the rest."""
    (of_below, of_beneath, of_above, of_beyond), (below, _, above, _) = upstream, results
    lower, upper = center - radius, center + radius
    under, rise, over = _parts(lower, upper, ceiling)
    by_below = torch.addcmul(of_below, of_beneath, under, value=-0.5).mul_(steep_below).div_(or_one(rise + over))
    by_above = torch.addcmul(of_above, of_beyond, over, value=0.5).mul_(steep_above).div_(or_one(rise + under))
    of_under = (by_above * above).addcmul_(of_beneath, below, value=0.5).neg_()
    of_over = (of_beyond * above).mul_(0.5).addcmul_(by_below, below, value=-1)
    of_rise = by_below.addcmul_(by_below, below, value=-1).add_(by_above.addcmul_(by_above, above, value=-1))
    of_rise.addcmul_(of_beyond, 1 - steep_above, value=0.5).addcmul_(of_beneath, 1 - steep_below, value=-0.5)
    from_upper, upper_to_ceiling = _split(of_rise, upper, ceiling)
    from_lower, lower_to_ceiling = _split(of_rise, lower, ceiling)
    beyond = threshold_backward(of_over, upper - ceiling, 0)
    of_upper, of_lower = from_upper.add_(beyond), from_lower.add_(threshold_backward(of_under, -lower, 0)).neg_()
    of_ceiling = upper_to_ceiling.sub_(lower_to_ceiling).sub_(beyond)
    of_radius = summed_to(of_upper - of_lower, radius)
    return of_upper + of_lower, of_radius, _summed_over(of_ceiling, ceiling), None, None


@differentiated_by(_lines_gradient)
def _lines_around(
    center: Tensor, radius: Tensor, ceiling: Tensor, steep_below: Tensor, steep_above: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _lines_between(center - radius, center + radius, ceiling, steep_below, steep_above)


def _lines_between(
    lower: Tensor, upper: Tensor, ceiling: Tensor, steep_below: Tensor, steep_above: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Slope and intercept of the line below, and of the line above."""
    under, rise, over = _parts(lower, upper, ceiling)
    below, above = steep_below * _slope(rise, rise + over), steep_above * _slope(rise, rise + under)
    beneath = (below * under + (1 - steep_below) * rise) * -0.5
    return below, beneath, above, (above * over + (1 - steep_above) * rise) * 0.5


def _parts(lower: Tensor, upper: Tensor, ceiling: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far the interval reaches below 0, how far the function rises on it, how far it reaches above the ceiling."""
    zero = ceiling.new_zeros(())
    rise = torch.clamp(upper, zero, ceiling) - torch.clamp(lower, zero, ceiling)
    return torch.relu(-lower), rise, torch.relu(upper - ceiling)


@torch.no_grad()
def _steep(slope: str, x: Interval, ceiling: Tensor) -> tuple[Tensor, Tensor]:
    """1 where the lower, and the upper, line is steep, 0 where it is flat."""
    if slope == "adaptive":
        return positive(x.center), positive(ceiling - x.center)
    if slope == "zero":
        return 1 - positive(-x.lower), 1 - positive(x.upper - ceiling)
    if slope == "one":
        return positive(x.upper), positive(ceiling - x.lower)
    raise ValueError(f"unknown lower slope {slope!r}; choose one of {', '.join(LOWER_SLOPES)}")


def _slope(rise: Tensor, width: Tensor) -> Tensor:
    """rise / width, and 0 for a single point: the line's value there is the function's."""
    return rise / or_one(width)


def unstable(x: Interval, ceiling: Tensor) -> Tensor:
    return ((x.lower < 0) & (x.upper > 0)) | ((x.lower < ceiling) & (x.upper > ceiling))


def _with_tensor(x: Any, ceiling: Any) -> tuple:
    if isinstance(ceiling, int | float):
        raise Refused(_NO_TENSOR)
    return x, ceiling


def _several(x: Any, ceiling: Any) -> Any:
    """For a ceiling that carries bounds itself."""
    return torch.minimum(torch.relu(x), ceiling)


RAMP = register(
    Operator(
        name="ramp",
        forward=forward,
        interval=interval,
        relax=relax,
        centred=centred,
        unstable=unstable,
        otherwise=_several,
        elementwise=True,
        spellings=((ramp, _with_tensor),),
    )
)
